"""IAM's MFA operations as IAM behaves, laid over moto's response class. Everything else is moto's.

The seam is moto's own: `DomainDispatcherApplication` takes the function that makes a service's Flask app, and our
class stands in that app's view. Nothing of moto is patched.
"""

from typing import Any

from moto.core.responses import ActionResult, EmptyResult

from mfa_kit.lab.aws import wire
from mfa_kit.lab.aws.codes import UNKNOWN_SERIAL
from mfa_kit.lab.aws.devices import VirtualDevice, assigned_entry
from mfa_kit.lab.aws.directory import Directory
from mfa_kit.lab.aws.wire import IamError

TAGS = 50


class LabIam(Directory):
    """The operations."""

    def _tags(self) -> dict[str, str]:
        tags = self._get_param("Tags") or []
        if len({tag["Key"].lower() for tag in tags}) < len(tags):
            raise IamError("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        return {tag["Key"]: tag["Value"] for tag in tags}

    # virtual devices

    def create_virtual_mfa_device(self) -> ActionResult:
        path, name = self._get_param("Path") or "/", self._get_param("VirtualMFADeviceName")
        device = VirtualDevice(self.account.backend.account_id, self.account.region, path=path, name=name)
        device.tags = self._tags()
        if device.serial_number in self.backend.virtual_mfa_devices:
            raise IamError("EntityAlreadyExists", "MFA device already exists.")
        if len(self.backend.virtual_mfa_devices) >= self.account.settings.users_quota:
            raise IamError("LimitExceeded", f"Cannot exceed quota for MFADevices: {self.account.settings.users_quota}")
        self.backend.virtual_mfa_devices[device.serial_number] = device
        holder = next(iter(self.backend.account_aliases), self.backend.account_id)
        made = {
            "SerialNumber": device.serial_number,
            "Base32StringSeed": device.base32_string_seed,
            "QRCodePNG": device.qr(holder),
            "Tags": [{"Key": key, "Value": value} for key, value in device.tags.items()],
        }
        return ActionResult({"VirtualMFADevice": made})

    def delete_virtual_mfa_device(self) -> ActionResult:
        device = self.backend.device(self._get_param("SerialNumber"))
        if device.user is not None:
            raise IamError("DeleteConflict", "MFA VirtualDevice in use. Must deactivate first.")
        del self.backend.virtual_mfa_devices[device.serial_number]
        return EmptyResult()

    def list_virtual_mfa_devices(self) -> ActionResult:
        wanted = self._get_param("AssignmentStatus") or "Any"
        rows = [
            row for row in self.account.virtual_rows() if wanted == "Any" or ("User" in row) == (wanted == "Assigned")
        ]
        shown, marker = wire.cut_page(rows, self.params, key=lambda row: row["SerialNumber"])
        return ActionResult({"VirtualMFADevices": shown, "IsTruncated": marker is not None, "Marker": marker})

    # assignment

    def enable_mfa_device(self) -> ActionResult:
        user, serial = self._user(), self._get_param("SerialNumber")
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
        self._pair(serial)
        self.account.book.bind(serial, user.id, codes, now=self.account.now())
        entry = assigned_entry(serial, self.account.today())
        if (device := self.backend.virtual_mfa_devices.get(serial)) is not None:
            device.user, device.enable_date = user, entry.enable_date
        user.mfa_devices[serial] = entry
        return EmptyResult()

    def deactivate_mfa_device(self) -> ActionResult:
        user, serial = self._user(), self._get_param("SerialNumber")
        self._held(user, serial)
        del user.mfa_devices[serial]
        if (device := self.backend.virtual_mfa_devices.get(serial)) is not None:
            device.user = device.enable_date = None
        if ":u2f/" not in serial:
            self.account.book.bind(serial, None, self.backend.codes(serial), now=self.account.now())
        return EmptyResult()

    def resync_mfa_device(self) -> ActionResult:
        user, serial = self._user(), self._get_param("SerialNumber")
        self._held(user, serial)
        self._pair(serial)
        self.account.book.bind(serial, user.id, self.backend.codes(serial), now=self.account.now())
        return EmptyResult()

    def list_mfa_devices(self) -> ActionResult:
        user = self._user()
        rows = [
            {"UserName": user.name, "SerialNumber": serial, "EnableDate": at}
            for serial, at in self.account.devices_of(user).items()
        ]
        shown, marker = wire.cut_page(rows, self.params, key=lambda row: row["SerialNumber"])
        return ActionResult({"MFADevices": shown, "IsTruncated": marker is not None, "Marker": marker})

    def _held(self, user: Any, serial: str) -> None:
        if serial not in user.mfa_devices:
            raise IamError("NoSuchEntity", "MFA Device invalid for user.")

    def _pair(self, serial: str) -> None:
        self.backend.codes(serial).pair(
            self._get_param("AuthenticationCode1"),
            self._get_param("AuthenticationCode2"),
            now=self.account.now(),
            settings=self.account.settings,
        )

    # tags of virtual devices

    def tag_mfa_device(self) -> ActionResult:
        device = self.backend.device(self._get_param("SerialNumber"))
        wanted = device.tags | self._tags()
        if len(wanted) > TAGS:
            raise IamError("LimitExceeded", f"Cannot exceed quota for TagsPerMFADevice: {TAGS}")
        device.tags = wanted
        return EmptyResult()

    def untag_mfa_device(self) -> ActionResult:
        device = self.backend.device(self._get_param("SerialNumber"))
        for key in self._get_param("TagKeys") or []:
            device.tags.pop(key, None)
        return EmptyResult()

    def list_mfa_device_tags(self) -> ActionResult:
        device = self.backend.device(self._get_param("SerialNumber"))
        rows = [{"Key": key, "Value": value} for key, value in device.tags.items()]
        shown, marker = wire.cut_page(rows, self.params, key=lambda row: row["Key"])
        return ActionResult({"Tags": shown, "IsTruncated": marker is not None, "Marker": marker})
