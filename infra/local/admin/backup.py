"""`waypost admin backup | restore`: everything that a platform knows, into a folder or file and back."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.local.admin.connection import AsJson, DataDir, Platform, guarded, open_platform, run, write_json

_To = Annotated[Path, typer.Option("--to", help="A folder that is empty or not there, or a file that ends in .tar.")]
_From = Annotated[Path, typer.Option("--from", help="What `waypost admin backup` has made.")]
_WithKey = Annotated[
    bool,
    typer.Option("--with-key", help="Put the key-encryption key and the administrator's key into it: guard it well."),
]
_Kek = Annotated[
    Path | None,
    typer.Option("--kek", envvar="WAYPOST_KEK_FILE", help="The key file of the platform that was backed up."),
]
_Target = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        readable=False,
        help="An empty folder (default: the cluster that the settings name, else $WAYPOST_DATA_DIR, else .waypost).",
    ),
]


def register(admin: typer.Typer) -> None:
    admin.command("backup")(backup)
    admin.command("restore")(restore)


def backup(to: _To, data_dir: DataDir = None, with_key: _WithKey = False, as_json: AsJson = False) -> None:
    """Write database and objects of a running platform to a folder or file."""

    async def work(platform: Platform) -> dict[str, Any]:
        from infra.local.admin import saving
        from infra.local.admin.progress import Progress

        return await saving.save(platform, to, with_key=with_key, progress=Progress())

    done = run(data_dir, work)
    if as_json or not sys.stdout.isatty():
        write_json(done)
        return
    typer.echo(f"{done['backup']}: {done['counts']['job']} jobs, {done['counts']['object']} objects.")
    if not done["with_key"]:
        typer.echo(f"The key-encryption key {', '.join(done['kek_ids'])} is not in it: keep its file in another place.")


def restore(source: _From, data_dir: _Target = None, kek: _Kek = None, as_json: AsJson = False) -> None:
    """Bring a backup back into an empty data folder, or into the empty cluster of the settings."""
    done = guarded(lambda: _restore(source, data_dir, kek))
    if as_json or not sys.stdout.isatty():
        write_json(done)
    elif done["restored"] is None:
        typer.echo("Restored: start the processes.")
    else:
        typer.echo(f"Restored: start it with `waypost up --data-dir {done['restored']}`.")


def _restore(source: Path, data_dir: Path | None, kek: Path | None) -> dict[str, Any]:
    import asyncio
    import os

    from infra.local import option
    from infra.local.admin import restoring
    from infra.local.admin.progress import Progress

    progress = Progress()
    in_cluster = data_dir is None and bool(os.environ.get("WAYPOST_DATABASE_URL"))

    async def work() -> dict[str, Any]:
        reader, key = restoring.check(source, kek, progress)
        try:
            where = open_platform(None) if in_cluster else restoring.into_folder(option.data_dir(data_dir), key, reader)
            async with where as platform:
                return await restoring.restore(platform, reader, progress)
        finally:
            reader.close()

    return asyncio.run(work())
