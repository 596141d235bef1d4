"""The command line: `msinet <verb> [EXPERIMENT]`. There is one file for each group of verbs.

Exit codes: 0 means that everything is done, 1 that some stages or trials are not done (finished results are kept), 2
that the request was wrong, 143 that SIGTERM has ended the command.
Heavy libraries are imported by the verbs that need them, so that `--help` answers at once.
"""

import contextlib
import errno
import io
import os
import signal
import sys

from pipeline.errors import ClusterLost, Interrupted, RequestError, Terminated, printable
from pipeline.output import Output, give_up


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. After a wrong request, print one message and exit with code 2."""
    _print_any_text()
    out = Output(sys.stdout or open(os.devnull, "w"))  # noqa: SIM115 (it stands for a standard output that is closed)
    with contextlib.redirect_stdout(out):
        code = _exit_code(arguments, out)
        lost = out.lost
        with contextlib.suppress(OSError):
            out.flush()
        if out.lost and out.lost.errno != errno.EPIPE:  # the reader of a pipe may end when it has read enough
            _tell(f"warning: not everything could be printed: {out.lost.strerror} (standard output).")
            code = code or (0 if lost else 2)  # `say` has passed over what was lost before, so the verb is done
    give_up(sys.stdout)
    give_up(sys.stderr)
    raise SystemExit(code)


def _exit_code(arguments: list[str] | None, out: Output) -> int:
    """Run a verb, print what went wrong except with the output, and return the exit code."""
    try:
        from pipeline.cli import (  # noqa: F401 (the verbs, which register themselves)
            bench,
            clean,
            compare,
            export,
            grids,
            init,
            models,
            race,
            rank,
            tracking,
            tune,
        )
        from pipeline.cli.options import app

        app(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except RequestError as error:
        return _tell(f"error: {error}", 2)
    except ClusterLost as error:
        return _tell(f"error: {error}", 1)
    except (Interrupted, KeyboardInterrupt):
        return _tell("interrupted: everything that is finished is kept. Run the same command again to continue.", 1)
    except Terminated as error:
        return _tell(f"{error}", 128 + signal.SIGTERM)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package in ("msinet", "pipeline"):
            raise
        extra = "export" if package in ("onnx", "onnxscript", "onnxruntime", "openvino") else "pipeline"
        return _tell(
            f"error: the command msinet needs the package `{package}`, which is not installed: install msinet with its "
            f"extra `{extra}` (pip install 'msinet[{extra}]').",
            2,
        )
    except OSError as error:
        if out.lost:
            return 2
        if not _is_somewhere():
            return _tell("error: the current folder must exist, but it was deleted: change to another folder.", 2)
        if error.filename is None:
            raise
        return _tell(f"error: {error.filename} must be a file or folder to read or write, but: {error.strerror}.", 2)
    return 0


def _is_somewhere() -> bool:
    """Return whether the current folder exists, from which relative paths start."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _tell(message: str, code: int = 0) -> int:
    """Print a message on the standard error, and return the code."""
    with contextlib.suppress(OSError):
        print("\n".join(map(printable, message.splitlines())), file=sys.stderr)
    return code


def _print_any_text() -> None:
    """Print characters that a terminal does not know, and bytes that are not UTF-8, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
