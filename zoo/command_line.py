"""Programs with the manners of a terminal: a wrong flag is one line, Ctrl-C and `| head` end them without a traceback."""

import functools
import os
import sys

from absl import app, flags

from zoo.backend import keep_freed_memory

WRONG_USE, INTERRUPTED, PIPE_CLOSED = 2, 130, 141  # as shells have it; the others after SIGINT and SIGPIPE

flags.DEFINE_bool("traceback", False, "Show where in the code an error was raised.")


def run(main, takes_arguments=False):
    """`absl.app.run` for scripts that print or train: parses flags, calls main(argv), ends the process.

    What is wrong with flags, files or values ends it with 2 and one line (--traceback shows more). A character that the
    terminal's encoding lacks is printed as its code. Ctrl-C ends it with 130 and one line, a closed standard output
    (`| head`) with 141 and none. The process, which is the script's own, keeps the memory it frees: see
    `zoo.backend.keep_freed_memory`.

    Args:
        main: function of the list of arguments that are no flags.
        takes_arguments: bool, whether there may be such arguments beside the script's name.
    """
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def told(argv):
        try:
            main(argv)
        except (app.UsageError, ValueError, TypeError, OSError, ImportError) as error:
            if isinstance(error, BrokenPipeError) or "traceback" in flags.FLAGS and flags.FLAGS.traceback:
                raise
            _leave(argv[0], error)

    try:
        try:
            app.run(told, flags_parser=functools.partial(_parsed, takes_arguments=takes_arguments))
        finally:
            sys.stdout.flush()  # else a closed pipe shows only when Python shuts down
    except KeyboardInterrupt as interrupt:
        told = f": {interrupt}" if str(interrupt) else ""
        sys.stderr.write(f"\nInterrupted{told}.\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os._exit(PIPE_CLOSED)  # at once: an ordinary end would flush into the pipe once more


def _parsed(arguments, takes_arguments):
    """The arguments that are no flags, once flags are read."""
    try:
        rest = flags.FLAGS(arguments)
    except flags.Error as error:
        _leave(arguments[0], error)
    if rest[1:] and not takes_arguments:
        _leave(arguments[0], f"unexpected {' '.join(rest[1:])}; flags are written --name=value")
    return rest


def _leave(script, error):
    sys.stdout.flush()
    text = " ".join(str(error).split()) or type(error).__name__
    sys.stderr.write(f"{os.path.basename(script)}: {text} (--help lists the flags)\n")
    sys.exit(WRONG_USE)
