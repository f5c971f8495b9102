"""Time peers on request: `worker.py torch_steps`, one JSON request a line in, one answer out.

{"id", "steps", and the arguments of `build`} -> {"ms", "parameters"}: milliseconds a
call of the task, over `steps` calls. The program of an id is built and warmed up once.
Between requests the process sleeps on its pipe, so that another process can be timed.
"""

import importlib
import json
import os
import sys
import time


def main():
    # Keeps library output out of the pipe that carries the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    framework = importlib.import_module(sys.argv[1])
    built = {}
    for line in sys.stdin:
        request = json.loads(line)
        name, steps = request.pop("id"), request.pop("steps")
        if name not in built:
            built[name] = framework.build(**request)
            built[name].run(1)
        began = time.perf_counter()
        built[name].run(steps)
        ms = (time.perf_counter() - began) / steps * 1e3
        print(
            json.dumps({"ms": ms, "parameters": built[name].parameters}), file=answers, flush=True
        )


if __name__ == "__main__":
    main()
