"""`mfa-kit key metadata`: show the FIDO metadata of a model, or the age of the metadata."""

from datetime import UTC, datetime
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import ALLOW_OLDER, MDS, MDS_ROOT
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.security_keys.authenticator import MetadataSource, Model
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@click.argument("model", required=False)
@MDS
@MDS_ROOT
@ALLOW_OLDER
def metadata(
    *, model: str | None, mds: Path | None, mds_root: Path | None, allow_older: bool, settings: Settings, output: Output
) -> int:
    """Show the FIDO metadata of MODEL, or the age of the metadata. The exit code is 1 if MODEL is not found.

    MODEL is an AAGUID, a key identifier, or a part of the model's name.
    """
    source, models = wiring.security_keys.SecurityKeys(
        settings, mds=mds, mds_root=mds_root, allow_older=allow_older
    ).published(model)
    if model is None:
        output.one("key-metadata-source", _source_row(source))
        return 0
    output.many(
        "key-metadata",
        [_model_row(published_model) for published_model in models],
        empty=f"the metadata has no model {model}",
    )
    return 0 if models else 1


def _source_row(source: MetadataSource) -> ResultRow:
    return {
        "source": source.name,
        "number": source.number,
        "next_update": source.next_update.isoformat(),
        "current": source.next_update >= datetime.now(UTC).date(),
        "signed": source.root is not None,
        "root_sha256": source.root,
        "models": source.models,
        "passed_over": source.passed_over,
    }


def _model_row(model: Model) -> ResultRow:
    return {
        "name": model.name,
        "aaguid": model.aaguid or ", ".join(model.identifiers),
        "version": model.version,
        "status": [status.status for status in model.statuses],
        "attestation": model.attestation,
        "roots": len(model.roots),
    }
