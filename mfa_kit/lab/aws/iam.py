"""IAM's operations on MFA devices and server certificates. docs/lab-reference.md says where they differ from AWS.

moto is not patched: its `DomainDispatcherApplication` accepts a function that makes the Flask app of a service. The
lab's function, in wsgi.py, makes an app whose view uses WholeIam, a subclass of LabIam. moto's IamResponse, the base
class of both, answers the operations that the lab does not implement.
"""

from datetime import UTC, datetime

from moto.core.responses import ActionResult, EmptyResult

from mfa_kit.lab.aws import auth, wire
from mfa_kit.lab.aws.backend import VALID, LabCertificate, LabUser
from mfa_kit.lab.aws.codes import UNKNOWN_SERIAL, DeviceCodes
from mfa_kit.lab.aws.directory import Directory
from mfa_kit.lab.aws.mfa_devices import VirtualDevice, assigned_entry
from mfa_kit.lab.aws.wire import IamError


class ServerCertificates(auth.AuthorizedResponse):
    """Operations on server certificates."""

    def list_server_certificates(self) -> ActionResult:
        """Answer ListServerCertificates, in pages sorted by name."""
        now = datetime.fromtimestamp(int(self.account.now()), UTC)
        rows: list[dict[str, object]] = []
        for number, certificate in self.account.backend.certificates.items():
            dates = (
                (certificate.uploaded, certificate.expires)
                if isinstance(certificate, LabCertificate)
                else (now, now + VALID)
            )
            rows.append(
                {
                    "Path": certificate.path,
                    "ServerCertificateName": certificate.cert_name,
                    "ServerCertificateId": number,
                    "Arn": certificate.arn,
                    "UploadDate": dates[0],
                    "Expiration": dates[1],
                }
            )
        shown, marker = wire.cut_page(rows, self.operation, key=lambda row: str(row["ServerCertificateName"]))
        return ActionResult(
            {"ServerCertificateMetadataList": shown, "IsTruncated": marker is not None, "Marker": marker}
        )


# The maximum number of tags of a device (API TagMFADevice).
TAGS = 50


class LabIam(ServerCertificates, Directory):
    """IAM's operations on MFA devices."""

    def _tags(self) -> dict[str, str]:
        """Return the request's tags. Raise IamError with the code InvalidInput if two keys are equal, ignoring case."""
        tags = self.operation.tags()
        if len({key.lower() for key, _ in tags}) < len(tags):
            raise IamError("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        return dict(tags)

    # The operations on virtual devices.

    def create_virtual_mfa_device(self) -> ActionResult:
        """Answer CreateVirtualMFADevice. Only this operation returns the secret and its QR code."""
        path, name = self.operation.text("Path") or "/", self.operation.text("VirtualMFADeviceName")
        device = VirtualDevice(self.account.id, self.account.region, path=path, name=name)
        device.tags = self._tags()
        if device.serial_number in self.backend.virtual_mfa_devices:
            raise IamError("EntityAlreadyExists", "MFA device already exists.")
        if len(self.backend.virtual_mfa_devices) >= self.account.settings.users_quota:
            raise IamError("LimitExceeded", f"Cannot exceed quota for MFADevices: {self.account.settings.users_quota}")
        self.backend.virtual_mfa_devices[device.serial_number] = device
        holder = next(iter(self.backend.account_aliases), self.backend.account_id)
        device_fields = {
            "SerialNumber": device.serial_number,
            "Base32StringSeed": device.base32_string_seed,
            "QRCodePNG": device.qr(holder),
            "Tags": [{"Key": key, "Value": value} for key, value in device.tags.items()],
        }
        return ActionResult({"VirtualMFADevice": device_fields})

    def delete_virtual_mfa_device(self) -> ActionResult:
        """Answer DeleteVirtualMFADevice. Raise IamError with the code DeleteConflict while the device is assigned."""
        device = self.backend.device(self.operation.text("SerialNumber"))
        if device.user is not None:
            raise IamError("DeleteConflict", "MFA VirtualDevice in use. Must deactivate first.")
        del self.backend.virtual_mfa_devices[device.serial_number]
        return EmptyResult()

    def list_virtual_mfa_devices(self) -> ActionResult:
        """Answer ListVirtualMFADevices, in pages that are sorted by serial. Secrets and tags are left out."""
        status = self.operation.text("AssignmentStatus") or "Any"
        rows = [
            row for row in self.account.virtual_rows() if status == "Any" or ("User" in row) == (status == "Assigned")
        ]
        shown, marker = wire.cut_page(rows, self.operation, key=lambda row: str(row["SerialNumber"]))
        return ActionResult({"VirtualMFADevices": shown, "IsTruncated": marker is not None, "Marker": marker})

    # The operations that assign devices to users.

    def enable_mfa_device(self) -> ActionResult:
        """Answer EnableMFADevice for a virtual device or a hardware token, with two consecutive codes."""
        user, serial = self._user(), self.operation.text("SerialNumber")
        codes = self._assignable(user, serial)
        self._accept_codes(serial)
        self.account.sts_codes.bind(serial, user.id, codes, now=self.account.now())
        entry = assigned_entry(serial, self.account.today())
        if (device := self.backend.virtual_mfa_devices.get(serial)) is not None:
            device.user, device.enable_date = user, entry.enable_date
        user.mfa_devices[serial] = entry
        return EmptyResult()

    def deactivate_mfa_device(self) -> ActionResult:
        """Answer DeactivateMFADevice. A virtual device is not deleted, but has no user afterwards."""
        user, serial = self._user(), self.operation.text("SerialNumber")
        self._check_assigned(user, serial)
        del user.mfa_devices[serial]
        if (device := self.backend.virtual_mfa_devices.get(serial)) is not None:
            device.user = device.enable_date = None
        if ":u2f/" not in serial:
            self.account.sts_codes.bind(serial, None, self.backend.codes(serial), now=self.account.now())
        return EmptyResult()

    def resync_mfa_device(self) -> ActionResult:
        """Answer ResyncMFADevice. Store how far the device's clock is off, according to two consecutive codes."""
        user, serial = self._user(), self.operation.text("SerialNumber")
        self._check_assigned(user, serial)
        self._accept_codes(serial)
        self.account.sts_codes.bind(serial, user.id, self.backend.codes(serial), now=self.account.now())
        return EmptyResult()

    def list_mfa_devices(self) -> ActionResult:
        """Answer ListMFADevices: the devices of a user, in pages sorted by serial."""
        user = self._user()
        rows = [
            {"UserName": user.name, "SerialNumber": serial, "EnableDate": enable_date}
            for serial, enable_date in self.account.devices_of(user).items()
        ]
        shown, marker = wire.cut_page(rows, self.operation, key=lambda row: str(row["SerialNumber"]))
        return ActionResult({"MFADevices": shown, "IsTruncated": marker is not None, "Marker": marker})

    def _assignable(self, user: LabUser, serial: str) -> DeviceCodes:
        """Return the DeviceCodes of a device. Raise IamError if the device cannot be assigned to the user."""
        if not serial.startswith("arn:") and serial not in self.backend.tokens:
            code = UNKNOWN_SERIAL[self.account.settings.unknown_serial]
            raise IamError(code, f"MFA device with serial number {serial} does not exist.")
        codes = self.backend.codes(serial)
        if serial in user.mfa_devices:
            raise IamError("EntityAlreadyExists", f"MFA Device for user {user.name} already exists.")
        if self.backend.holder(serial) is not None:
            raise IamError("EntityAlreadyExists", "MFA Device is already in use.")
        limit = self.account.settings.devices_per_user
        if len(user.mfa_devices) >= limit:
            raise IamError("LimitExceeded", f"Cannot exceed quota for MFADevicesPerUser: {limit}")
        return codes

    def _check_assigned(self, user: LabUser, serial: str) -> None:
        if serial not in user.mfa_devices:
            raise IamError("NoSuchEntity", "MFA Device invalid for user.")

    def _accept_codes(self, serial: str) -> None:
        """Accept the request's two codes. Raise IamError with the code InvalidAuthenticationCode if they are wrong."""
        accepted = self.backend.codes(serial).accept_pair(
            self.operation.text("AuthenticationCode1"),
            self.operation.text("AuthenticationCode2"),
            now=self.account.now(),
            settings=self.account.settings,
        )
        if not accepted:
            raise IamError("InvalidAuthenticationCode", "Authentication code for device is not valid.")

    # The operations on the tags of virtual devices.

    def tag_mfa_device(self) -> ActionResult:
        """Answer TagMFADevice. Raise IamError with the code LimitExceeded above 50 tags."""
        device = self.backend.device(self.operation.text("SerialNumber"))
        tags = device.tags | self._tags()
        if len(tags) > TAGS:
            raise IamError("LimitExceeded", f"Cannot exceed quota for TagsPerMFADevice: {TAGS}")
        device.tags = tags
        return EmptyResult()

    def untag_mfa_device(self) -> ActionResult:
        """Answer UntagMFADevice. Tag keys that the device does not have are ignored."""
        device = self.backend.device(self.operation.text("SerialNumber"))
        for key in self.operation.texts("TagKeys"):
            device.tags.pop(key, None)
        return EmptyResult()

    def list_mfa_device_tags(self) -> ActionResult:
        """Answer ListMFADeviceTags, in pages sorted by key."""
        device = self.backend.device(self.operation.text("SerialNumber"))
        rows = [{"Key": key, "Value": value} for key, value in device.tags.items()]
        shown, marker = wire.cut_page(rows, self.operation, key=lambda row: row["Key"])
        return ActionResult({"Tags": shown, "IsTruncated": marker is not None, "Marker": marker})
