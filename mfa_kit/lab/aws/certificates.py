"""IAM's server certificates. moto's certificates have neither an upload date nor an expiry date."""

from datetime import UTC, datetime

from moto.core.responses import ActionResult

from mfa_kit.lab.aws import auth, wire
from mfa_kit.lab.aws.backend import VALID, LabCertificate


class ServerCertificates(auth.AuthorizedResponse):
    """Operations on server certificates."""

    def list_server_certificates(self) -> ActionResult:
        """Answer ListServerCertificates, in pages sorted by name."""
        now = datetime.fromtimestamp(int(self.account.now()), UTC)
        rows: list[dict[str, object]] = []
        for number, one in self.account.backend.certificates.items():
            dates = (one.uploaded, one.expires) if isinstance(one, LabCertificate) else (now, now + VALID)
            rows.append(
                {
                    "Path": one.path,
                    "ServerCertificateName": one.cert_name,
                    "ServerCertificateId": number,
                    "Arn": one.arn,
                    "UploadDate": dates[0],
                    "Expiration": dates[1],
                }
            )
        shown, marker = wire.cut_page(rows, self.operation, key=lambda row: str(row["ServerCertificateName"]))
        return ActionResult(
            {"ServerCertificateMetadataList": shown, "IsTruncated": marker is not None, "Marker": marker}
        )
