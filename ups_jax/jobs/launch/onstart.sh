# All that a rented machine does, from set-up to the command that ends the machine.
# Every exit runs `leave`: success, a crash, a failed set-up, the hard limit, a signal.
# A guard in a separate session covers what no trap sees: kill -9, out of memory, a hung sync.
set -u
trap '' HUP
ROOT=$PWD
STATE=$(mktemp -d)
UPS_DATA=${UPS_DATA:-$HOME/.cache/ups_jax/data}
LINGER_S=${LINGER_S:-20} WATCH_S=${WATCH_S:-5} SAVE_EVERY_S=${SAVE_EVERY_S:-300} SAVE_S=${SAVE_S:-600}
AFTER_S=${AFTER_S:-900}
RETRY_S=${RETRY_S-5 20 60 120}
export ROOT STATE UPS_DATA NAME REPO REF SYNC WORKDIR SAVE_S RETRY_S WATCH_S SHUTDOWN_CMD

log() { printf 'launch: %s\n' "$*"; }

read_variable() { # NAME: read a variable from process 1; a shell started by ssh does not have it
  [ -z "${!1:-}" ] || return 0
  local value
  value=$({ tr '\0' '\n' </proc/1/environ | sed -n "s/^$1=//p"; } 2>/dev/null)
  [ -z "$value" ] || export "$1=$value"
}

end_box() { # repeat until it works, then never again
  [ ! -e "$STATE/ended" ] || return 0
  local pause
  for pause in 0 $RETRY_S; do
    sleep "$pause"
    timeout -k 10 120 bash -c "$SHUTDOWN_CMD" </dev/null && touch "$STATE/ended" && return 0
    log "the machine was not ended by: $SHUTDOWN_CMD"
  done
  shutdown -h now && touch "$STATE/ended" && return 0
  log "END THIS MACHINE YOURSELF: it costs money until then"
  return 1
}

alive() { # PID: a zombie counts as dead
  grep -qs '^State:[[:space:]]*[^Z[:space:]]' /proc/"$1"/status
}

guard() { # PID SECONDS: end the machine if the script is dead, or runs past the limit
  while alive "$1" && [ "$SECONDS" -lt "$2" ]; do sleep "$WATCH_S"; done
  kill -KILL "$1" 2>/dev/null
  touch "$STATE/stop"
  end_box
}

need() { # COMMAND...: install missing commands from system packages
  local command missing="" sudo=""
  for command; do command -v "$command" >/dev/null || missing="$missing $command"; done
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  $sudo apt-get update -qq && $sudo apt-get install -qq -y $missing
}

find_python() { # python >= 3.11 with venv; uv installs one if the system has none
  local python test='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
  for python in python3.13 python3.12 python3.11 python3; do
    if command -v "$python" >/dev/null && "$python" -c "$test" 2>/dev/null; then
      echo "$python"
      return 0
    fi
  done
  python3 -m pip install --quiet --user uv >&2 ||
    python3 -m pip install --quiet --user --break-system-packages uv >&2
  python3 -m uv python install --quiet 3.12 >&2 && python3 -m uv python find 3.12
}

clone() {
  need git && { [ -d "$ROOT/.git" ] || git clone --quiet -- "$REPO" "$ROOT"; } || return
  [ -z "$REF" ] || git -C "$ROOT" checkout --quiet "$REF"
}

set_up() {
  local python
  need make && python=$(find_python) && make PYTHON="$python" .venv/.ready
}

step() { # run within the rest of the hard limit; `stop` forwards signals to it
  local left=$((LIMIT_S - SECONDS)) code
  timeout --signal=TERM --kill-after=60 $((left > 0 ? left : 1)) "$@" </dev/null &
  child=$!
  wait "$child"
  code=$?
  child=""
  [ "$code" != 124 ] || log "stopped by the hard limit of $LIMIT_S s"
  return "$code"
}

pack() { # FOLDER NAME FILE: atomic, so that no partial checkpoint is resumed
  tar -C "$1" -czf "$3.part" -- "$2" 2>"$STATE/tar.log"
  [ $? -le 1 ] && ! grep -q 'removed before' "$STATE/tar.log" && mv "$3.part" "$3"
}

put() { timeout -k 30 "$SAVE_S" bash -c 'copy "$@"' copy "$1" "$SYNC/$2"; }

fetch() { # NAME FOLDER
  timeout -k 30 "$SAVE_S" bash -c 'copy "$@"' copy "$SYNC/$1" "$STATE/$1" >/dev/null 2>&1 &&
    mkdir -p "$2" && tar -C "$2" -xzf "$STATE/$1"
}

probe() { # check that results can be saved, before anything is computed
  date >"$STATE/probe" && put "$STATE/probe" "$NAME.started"
}

save() {
  [ -n "$SYNC" ] && [ -d "$ROOT/$WORKDIR" ] || return 0
  pack "$ROOT" "$WORKDIR" "$STATE/run.tgz" && put "$STATE/run.tgz" "$NAME.tgz"
}

save_data() { # once: later machines need not simulate again
  [ -n "$SYNC" ] && [ -d "$UPS_DATA" ] && [ ! -e "$STATE/$NAME-data.tgz" ] || return 0
  pack "$UPS_DATA" . "$STATE/data.tgz" && put "$STATE/data.tgz" "$NAME-data.tgz"
}

report_run() { # the launcher reads this line: id and url of the W&B run
  local file="$ROOT/$WORKDIR/wandb_run.json"
  [ ! -e "$STATE/reported" ] && [ -s "$file" ] || return 0
  touch "$STATE/reported"
  log "wandb_run.json $(tr -d '\n' <"$file")"
}

watch() { # during the run, until `leave`
  local saved=$SECONDS
  until [ -e "$STATE/stop" ]; do
    sleep "$WATCH_S" >/dev/null 2>&1
    report_run
    [ $((SECONDS - saved)) -ge "$SAVE_EVERY_S" ] && saved=$SECONDS && save
  done
}

stop() { # CODE: forward the signal, so that the run writes its checkpoint, then leave
  trap '' TERM INT
  [ -z "$child" ] || { kill -TERM "$child" && wait "$child"; }
  exit "$1"
}

leave() {
  local code=$?
  trap '' TERM INT
  trap - EXIT
  touch "$STATE/stop"
  [ -z "$watcher" ] || wait "$watcher"
  report_run
  save || log "the results could not be saved to $SYNC"
  [ "$code" != 0 ] || save_data || log "the data cache could not be saved to $SYNC"
  log "ended with code $code"
  sleep "$LINGER_S"
  end_box
  exit "$code"
}

child="" watcher=""
for name in $BOX; do read_variable "$name"; done
export -f log end_box alive guard need find_python clone set_up copy put probe
trap leave EXIT
trap 'stop 143' TERM
trap 'stop 130' INT
case $SHUTDOWN_CMD in # cancel one that an earlier job scheduled
  *'shutdown -h +'*) { sudo -n shutdown -c || shutdown -c; } >/dev/null 2>&1 ;;
esac
setsid bash -c 'guard "$@"' guard $$ $((LIMIT_S + AFTER_S)) </dev/null >"$STATE/guard.log" 2>&1 &

if [ -n "$REPO" ]; then
  ROOT=$HOME/ups_launch/$NAME
  step bash -c clone || exit
fi
cd "$ROOT" || exit
if [ -n "$SYNC" ]; then
  step bash -c probe || { log "cannot write to $SYNC, so the job does not start"; exit 1; }
  fetch "$NAME.tgz" "$ROOT" && log "resumes from $SYNC/$NAME.tgz"
  fetch "$NAME-data.tgz" "$UPS_DATA"
fi
step bash -c set_up || exit
watch &
watcher=$!
step .venv/bin/python "${RUN[@]}"
exit
