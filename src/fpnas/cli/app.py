"""The `fpnas` command: its subcommands, and how errors leave it.

Exit codes: 0 done; 2 bad input, one line on stderr; 130 on Ctrl-C and 143 on SIGTERM.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer

from fpnas.cli import bench, cost, evaluate, export, find, pack, predict, report, search, spaces, train, watch
from fpnas.cli.flags import spread
from fpnas.errors import FpnasError

app = typer.Typer(
    name="fpnas",
    help="Find a small, accurate network for your images and your budget, in one run (FP-NAS, CVPR 2021).",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    find.find,
    spaces.spaces,
    search.search,
    train.train,
    evaluate.evaluate,
    cost.cost,
    export.export,
    predict.predict,
    report.report,
    watch.watch,
    bench.bench,
):
    app.command()(spread(command))

app.add_typer(pack.latency)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"fpnas {metadata.version('fpnas')}")
        raise typer.Exit


@app.callback()
def _top(
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="FILE", help="Run a Python file that registers spaces of your own."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find a small, accurate network for your images and your budget, in one run (FP-NAS, CVPR 2021)."""
    del version
    for file in imports or ():
        from fpnas.spaces import import_file

        import_file(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; `arguments` are sys.argv's by default."""
    warnings.showwarning = _show_warning
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        value: Any = app(args=words, prog_name="fpnas", standalone_mode=False)
    except FpnasError as error:
        return _refuse(str(error))
    except OSError as error:
        got = f"{error.strerror or error} ({error.filename!s:.80})"
        return _refuse(f"expected files that can be read and written, got {got}; check the path")
    except KeyboardInterrupt:
        return 130
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except Exception as error:
        # The command-line library's own errors, whichever package they come from, can format themselves.
        message = getattr(error, "format_message", None)
        if message is None:
            if type(error).__name__ in ("Abort", "Exit"):
                return getattr(error, "exit_code", 130)
            raise
        return _refuse(f"{message()} See --help.")
    return value if isinstance(value, int) else 0


def _refuse(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def _show_warning(message: Any, category: Any, filename: str, *_: Any, **__: Any) -> None:
    del category, filename
    # Each of torchrun's ranks reads the same data and flags, also before the ranks know of each other.
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK") != "0":
        return
    print(f"warning: {message}", file=sys.stderr)
