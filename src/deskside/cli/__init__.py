"""The command line: flags in, exit status out. Only wiring; what is done is in `app`, how it looks in `ui`.

Nothing heavy is imported before a command needs it, so that `--help` and `validate` answer at once.
"""

from __future__ import annotations

import sys

import click

from deskside import __version__
from deskside.cli import adopt, after, directory, groups, handout, people, ports, runs, sitefile
from deskside.errors import DesksideError, Interrupted, UsageError
from deskside.garbage import collect_rarely
from deskside.lab.commands import lab

EPILOG = """\b
Examples:
  deskside validate                 every problem of site.yaml at once
  deskside plan                     what would change; writes nothing
  deskside apply                    make it so
  deskside -f lab.yaml status       another site file
\b
Exit status: 0 well, 1 declined or other, 2 usage, 3 site file, 4 unreachable,
5 check or verify failed, 6 step failed, 7 locked, 10 plan --exit-code with
something to do, 130 interrupted.
"""


@click.group(
    epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="deskside")
@click.option(
    "-f",
    "--file",
    "site_file",
    type=click.Path(dir_okay=False),
    envvar="DESKSIDE_SITE",
    default="site.yaml",
    show_default=True,
    show_envvar=True,
    help="The site file.",
)
@click.pass_context
def deskside(ctx: click.Context, site_file: str) -> None:
    """From bare GPU workstations and a NAS to a shared notebook platform, from one site file."""
    ctx.obj = site_file


GROUPS = (sitefile, adopt, runs, after, people, groups, directory, ports, handout)
for command in (command for module in GROUPS for command in module.COMMANDS):
    deskside.add_command(command)
deskside.add_command(lab)


@deskside.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      deskside completion bash > ~/.local/share/bash-completion/completions/deskside
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(deskside, {}, "deskside", "_DESKSIDE_COMPLETE").source())


def main() -> None:
    """Entry point: every error becomes a sentence and an exit status, never a traceback."""
    collect_rarely()
    try:
        # Outside its standalone mode click returns the status of `ctx.exit`. It ends the process itself,
        # quietly and with 1, when whoever read our output has had enough.
        status = deskside.main(prog_name="deskside", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _end(Interrupted("stopped"))
    except DesksideError as error:
        _end(error)
    except OSError as error:
        _end(DesksideError(f"{error.filename or 'the system'}: {error.strerror or error}"))
    except Exception as error:  # the last resort: a fault of ours, said as such
        _end(_fault(error))


def _end(error: DesksideError) -> None:
    from deskside.ui.errors import error_text

    click.echo(error_text(error), err=True, nl=False)
    sys.exit(error.exit_code)


def _fault(error: Exception) -> DesksideError:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="deskside-fault-", suffix=".txt", delete=False) as report:
        report.writelines(traceback.format_exception(error))
    return DesksideError(
        f"a fault of Deskside: {type(error).__name__}: {error}",
        hint=f"please report it with {report.name}; running the command again is safe",
    )


__all__ = ["UsageError", "deskside", "main"]
