"""IAM's operations for centralized root access, and the operations that AssumeRoot sessions call on the root user."""

from moto.core.responses import ActionResult, EmptyResult
from moto.iam.responses import IamResponse

from mfa_kit.lab.aws.auth import AuthorizedResponse
from mfa_kit.lab.aws.organization import CREDENTIALS, IAM_SERVICE, SESSIONS
from mfa_kit.lab.aws.wire import IamError


class RootAccess(AuthorizedResponse, IamResponse):
    """A mixin for centralized root access: its features, and the calls of AssumeRoot sessions about the root user.

    The next class in the method resolution order, which is LabIam, answers all other calls.
    """

    # The operations on the features of centralized root access.

    def list_organizations_features(self) -> ActionResult:
        """Answer ListOrganizationsFeatures, for the management account and a delegated administrator for IAM."""
        self._check_administrator()
        return self._features()

    def enable_organizations_root_credentials_management(self) -> ActionResult:
        """Answer EnableOrganizationsRootCredentialsManagement."""
        return self._set_feature(CREDENTIALS, enabled=True)

    def disable_organizations_root_credentials_management(self) -> ActionResult:
        """Answer DisableOrganizationsRootCredentialsManagement."""
        return self._set_feature(CREDENTIALS, enabled=False)

    def enable_organizations_root_sessions(self) -> ActionResult:
        """Answer EnableOrganizationsRootSessions."""
        return self._set_feature(SESSIONS, enabled=True)

    def disable_organizations_root_sessions(self) -> ActionResult:
        """Answer DisableOrganizationsRootSessions."""
        return self._set_feature(SESSIONS, enabled=False)

    def _features(self) -> ActionResult:
        return ActionResult(
            {"OrganizationId": self.organization.id, "EnabledFeatures": sorted(self.organization.features)}
        )

    def _set_feature(self, feature: str, *, enabled: bool) -> ActionResult:
        """Enable or disable a feature. Only the management account may do so."""
        self._check_administrator()
        if self.account is not self.organization.management:
            raise IamError(
                "CallerIsNotManagementAccountException",
                "The account making the request is not the management account of the organization.",
            )
        if enabled:
            self.organization.features.add(feature)
        else:
            self.organization.features.discard(feature)
        return self._features()

    def _check_administrator(self) -> None:
        if self.account.id not in self.organization.records:
            raise IamError("OrganizationNotFoundException", "No organization is associated with your account.")
        if not self.organization.administers(self.account, IAM_SERVICE):
            raise IamError(
                "AccountNotManagementOrDelegatedAdministratorException",
                "The account making the request is not the management account or a delegated administrator.",
            )

    # The operations on the credentials of the root user.

    @property
    def _about_root(self) -> bool:
        """Whether the request is about the root user: an AssumeRoot session sent it, and it names no user."""
        return self.caller.kind == "root" and "UserName" not in self.operation.params

    def list_mfa_devices(self) -> ActionResult:
        """Answer ListMFADevices. If an AssumeRoot session names no user, list root's devices."""
        if not self._about_root:
            return super().list_mfa_devices()
        rows = [{"SerialNumber": device.serial, "EnableDate": device.enabled} for device in self.account.root_devices()]
        return ActionResult({"MFADevices": rows, "IsTruncated": False})

    def list_access_keys(self) -> ActionResult:
        """Answer ListAccessKeys. If an AssumeRoot session names no user, list root's keys."""
        if not self._about_root:
            return super().list_access_keys()
        created = self.account.root.created
        rows = [
            {"AccessKeyId": f"AKIA{self.account.id}ROO{number}", "Status": "Active", "CreateDate": created}
            for number in range(1, self.account.root.keys + 1)
        ]
        return ActionResult({"AccessKeyMetadata": rows, "IsTruncated": False})

    def get_login_profile(self) -> ActionResult:
        """Answer GetLoginProfile. If an AssumeRoot session names no user, return root's login profile."""
        if not self._about_root:
            return super().get_login_profile()
        if not self.account.root.password:
            raise IamError("NoSuchEntity", "Login Profile for User root cannot be found.")
        return ActionResult({"LoginProfile": {"UserName": "root", "CreateDate": self.account.root.created}})

    def get_user(self) -> ActionResult:
        """Answer GetUser. If an AssumeRoot session names no user, return the root user."""
        if not self._about_root:
            return super().get_user()
        root = self.account.root
        shown = {"UserId": self.account.id, "Arn": self.caller.arn, "CreateDate": root.created}
        return ActionResult({"User": {**shown, "PasswordLastUsed": root.password_last_used}})

    def list_signing_certificates(self) -> ActionResult:
        """Answer ListSigningCertificates. In the lab, root has no signing certificates."""
        if not self._about_root:
            return super().list_signing_certificates()
        return ActionResult({"Certificates": [], "IsTruncated": False})

    def deactivate_mfa_device(self) -> ActionResult:
        """Answer DeactivateMFADevice. If an AssumeRoot session names no user, remove the device from root."""
        if not self._about_root:
            return super().deactivate_mfa_device()
        devices = self.account.root_devices()
        remaining_devices = [device for device in devices if device.serial != self.operation.text("SerialNumber")]
        if len(remaining_devices) == len(devices):
            raise IamError("NoSuchEntity", "MFA Device invalid for user.")
        self.account.root.devices = remaining_devices
        return EmptyResult()

    def delete_access_key(self) -> ActionResult:
        """Answer DeleteAccessKey.

        If an AssumeRoot session names no user, delete one of root's keys. The lab ignores the key ID in the request.
        """
        if not self._about_root:
            return super().delete_access_key()
        if not self.account.root.keys:
            raise IamError("NoSuchEntity", f"The Access Key with id {self._get_param('AccessKeyId')} cannot be found.")
        self.account.root.keys -= 1
        return EmptyResult()

    def create_login_profile(self) -> ActionResult:
        """Answer CreateLoginProfile.

        If an AssumeRoot session names no user, root gets a password. In AWS, the call only allows root to recover its
        password.
        """
        if not self._about_root:
            return super().create_login_profile()
        if self.account.root.password:
            raise IamError("EntityAlreadyExists", "Login Profile for user root already exists.")
        self.account.root.password = True
        return self.get_login_profile()

    def delete_login_profile(self) -> ActionResult:
        """Answer DeleteLoginProfile. If an AssumeRoot session names no user, delete root's password."""
        if not self._about_root:
            return super().delete_login_profile()
        self.get_login_profile()
        self.account.root.password = False
        return EmptyResult()
