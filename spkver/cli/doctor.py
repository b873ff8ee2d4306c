"""`spkver doctor`: what this installation can do."""

from __future__ import annotations

import click


@click.command(name="doctor")
def command() -> None:
    """Versions, device, bf16, which parts load and which do not and why, packs and models here, free space.

    Its output belongs in every report of a problem. Exit code 1 if a part that is always needed does not load.

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
        raise RunError(f"{', '.join(broken)}: needed, and not loading; install spkver anew")
