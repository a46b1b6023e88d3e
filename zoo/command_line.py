"""Programs with the manners of a terminal: Ctrl-C and `| head` end them without a traceback."""

import os
import sys

from absl import app

from zoo.backend import keep_freed_memory

INTERRUPTED, PIPE_CLOSED = 130, 141  # what a shell shows after SIGINT and SIGPIPE


def run(main):
    """`absl.app.run` for scripts that print or train: parses flags, calls main(argv), ends the process.

    Ctrl-C ends it with 130 and one line, a closed standard output (`| head`) with 141 and none. The process, which is
    the script's own, keeps the memory it frees: see `zoo.backend.keep_freed_memory`.

    Args:
        main: function of the list of arguments that are no flags.
    """
    keep_freed_memory()
    try:
        try:
            app.run(main)
        finally:
            sys.stdout.flush()  # else a closed pipe shows only when Python shuts down
    except KeyboardInterrupt as interrupt:
        told = f": {interrupt}" if str(interrupt) else ""
        sys.stderr.write(f"\nInterrupted{told}.\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os._exit(PIPE_CLOSED)  # at once: an ordinary end would flush into the pipe once more
