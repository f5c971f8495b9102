# What a rented box does from its first command to its last, which ends the box itself.
# Every way out leads through `leave`: success, a crash, a failed set-up, the hard limit, a signal.
# A guard in a session of its own covers what no trap sees: kill -9, out of memory, a hung sync.
set -u
trap '' HUP
ROOT=$PWD
STATE=$(mktemp -d)
UPS_DATA=${UPS_DATA:-$HOME/.cache/ups_jax/data}
LINGER_S=${LINGER_S:-20} WATCH_S=${WATCH_S:-5} SAVE_EVERY_S=${SAVE_EVERY_S:-300} SAVE_S=${SAVE_S:-600}
AFTER_S=${AFTER_S:-900}
RETRY_S=${RETRY_S-5 20 60 120}
export ROOT STATE UPS_DATA NAME REPO REF SYNC WORKDIR SAVE_S RETRY_S WATCH_S SHUTDOWN_CMD

say() { printf 'launch: %s\n' "$*"; }

of_box() { # NAME: a variable of the box's first process, which a shell that came by ssh lacks
  [ -z "${!1:-}" ] || return 0
  local found
  found=$({ tr '\0' '\n' </proc/1/environ | sed -n "s/^$1=//p"; } 2>/dev/null)
  [ -z "$found" ] || export "$1=$found"
}

end_box() { # until it works, and never again after that
  [ ! -e "$STATE/ended" ] || return 0
  local pause
  for pause in 0 $RETRY_S; do
    sleep "$pause"
    timeout -k 10 120 bash -c "$SHUTDOWN_CMD" </dev/null && touch "$STATE/ended" && return 0
    say "the box could not be ended by: $SHUTDOWN_CMD"
  done
  shutdown -h now && touch "$STATE/ended" && return 0
  say "END THIS BOX BY HAND: it costs money until then"
  return 1
}

alive() { # PID: a zombie, which a careless parent leaves, is dead
  grep -qs '^State:[[:space:]]*[^Z[:space:]]' /proc/"$1"/status
}

guard() { # PID SECONDS: end the box where the script has died untrapped, or hangs past the limit
  while alive "$1" && [ "$SECONDS" -lt "$2" ]; do sleep "$WATCH_S"; done
  kill -KILL "$1" 2>/dev/null
  touch "$STATE/stop"
  end_box
}

need() { # COMMAND...: from the system's packages, where missing
  local each missing="" sudo=""
  for each; do command -v "$each" >/dev/null || missing="$missing $each"; done
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  $sudo apt-get update -qq && $sudo apt-get install -qq -y $missing
}

find_python() { # one that has venv and is young enough; uv brings one where the system has none
  local each test='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
  for each in python3.13 python3.12 python3.11 python3; do
    if command -v "$each" >/dev/null && "$each" -c "$test" 2>/dev/null; then
      echo "$each"
      return 0
    fi
  done
  python3 -m pip install --quiet --user uv >&2 ||
    python3 -m pip install --quiet --user --break-system-packages uv >&2
  python3 -m uv python install --quiet 3.12 >&2 && python3 -m uv python find 3.12
}

clone() {
  need git && { [ -d "$ROOT/.git" ] || git clone --quiet "$REPO" "$ROOT"; } || return
  [ -z "$REF" ] || git -C "$ROOT" checkout --quiet "$REF"
}

set_up() {
  local python
  need make && python=$(find_python) && make PYTHON="$python" .venv/.ready
}

step() { # run under what is left of the hard limit, where a signal finds and passes it on
  local left=$((LIMIT_S - SECONDS)) code
  timeout --signal=TERM --kill-after=60 $((left > 0 ? left : 1)) "$@" </dev/null &
  child=$!
  wait "$child"
  code=$?
  child=""
  [ "$code" != 124 ] || say "stopped by the hard limit of $LIMIT_S s"
  return "$code"
}

pack() { # FOLDER NAME FILE: whole or not at all, so that no torn checkpoint is ever resumed from
  tar -C "$1" -czf "$3.part" "$2" 2>"$STATE/tar.log"
  [ $? -le 1 ] && ! grep -q 'removed before' "$STATE/tar.log" && mv "$3.part" "$3"
}

put() { timeout -k 30 "$SAVE_S" bash -c 'copy "$@"' copy "$1" "$SYNC/$2"; }

fetch() { # NAME FOLDER
  timeout -k 30 "$SAVE_S" bash -c 'copy "$@"' copy "$SYNC/$1" "$STATE/$1" >/dev/null 2>&1 &&
    mkdir -p "$2" && tar -C "$2" -xzf "$STATE/$1"
}

probe() { # before anything is computed: can its results be kept?
  date >"$STATE/probe" && put "$STATE/probe" "$NAME.started"
}

save() {
  [ -n "$SYNC" ] && [ -d "$ROOT/$WORKDIR" ] || return 0
  pack "$ROOT" "$WORKDIR" "$STATE/run.tgz" && put "$STATE/run.tgz" "$NAME.tgz"
}

save_data() { # once: another box, or the next one, need not simulate again
  [ -n "$SYNC" ] && [ -d "$UPS_DATA" ] && [ ! -e "$STATE/$NAME-data.tgz" ] || return 0
  pack "$UPS_DATA" . "$STATE/data.tgz" && put "$STATE/data.tgz" "$NAME-data.tgz"
}

tell() { # the launcher reads this line: id and url of the W&B run
  local file="$ROOT/$WORKDIR/wandb_run.json"
  [ ! -e "$STATE/told" ] && [ -s "$file" ] || return 0
  touch "$STATE/told"
  say "wandb_run.json $(tr -d '\n' <"$file")"
}

watch() { # beside the runner, until it is asked to stop
  local saved=$SECONDS
  until [ -e "$STATE/stop" ]; do
    sleep "$WATCH_S" >/dev/null 2>&1
    tell
    [ $((SECONDS - saved)) -ge "$SAVE_EVERY_S" ] && saved=$SECONDS && save
  done
}

stop() { # CODE: the runner gets the signal, writes its checkpoint, and the way out is the usual one
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
  tell
  save || say "the results could not be saved to $SYNC"
  [ "$code" != 0 ] || save_data || say "the data cache could not be saved to $SYNC"
  say "ended with code $code"
  sleep "$LINGER_S"
  end_box
  exit "$code"
}

child="" watcher=""
for name in $BOX; do of_box "$name"; done
export -f say end_box alive guard need find_python clone set_up copy put probe
trap leave EXIT
trap 'stop 143' TERM
trap 'stop 130' INT
case $SHUTDOWN_CMD in # one that an earlier job put off
  *'shutdown -h +'*) { sudo -n shutdown -c || shutdown -c; } >/dev/null 2>&1 ;;
esac
setsid bash -c 'guard "$@"' guard $$ $((LIMIT_S + AFTER_S)) </dev/null >"$STATE/guard.log" 2>&1 &

if [ -n "$REPO" ]; then
  ROOT=$HOME/ups_launch/$NAME
  step bash -c clone || exit
fi
cd "$ROOT" || exit
if [ -n "$SYNC" ]; then
  step bash -c probe || { say "cannot write to $SYNC, so nothing is begun"; exit 1; }
  fetch "$NAME.tgz" "$ROOT" && say "goes on from $SYNC/$NAME.tgz"
  fetch "$NAME-data.tgz" "$UPS_DATA"
fi
step bash -c set_up || exit
watch &
watcher=$!
step .venv/bin/python "${RUN[@]}"
exit
