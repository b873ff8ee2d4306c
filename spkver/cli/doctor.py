"""`spkver doctor`: what this installation can do."""

from __future__ import annotations

import click


@click.command(name="doctor")
def command() -> None:
    """Check this installation: versions, device, bf16, which parts load, packs and models here, free disk space.

    Include the output in bug reports. Exit code 1 if a required part does not load.

    \b
    Example: spkver doctor
    """
    from spkver.doctor import examine
    from spkver.errors import RunError

    broken = []
    for finding in examine():
        mark = "!" if finding.broken else " "
        click.echo(f"{mark} {finding.name:<25} {finding.found}")
        broken += [finding.name] if finding.broken else []
    if broken:
        raise RunError(f"{', '.join(broken)}: required, but does not load; reinstall spkver")
