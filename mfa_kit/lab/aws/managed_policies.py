"""IAM's operations on managed policies for which moto lacks a check, and on permissions boundaries of users and roles.

moto keeps the boundary of a role that is created with one. It has no boundaries of users.
"""

from moto.core.responses import ActionResult, EmptyResult

from mfa_kit.lab.aws.directory import Directory


class ManagedPolicies(Directory):
    """Operations on managed policies and on permissions boundaries."""

    def create_user(self) -> ActionResult:
        """Answer CreateUser. Raise IamError with the code NoSuchEntity if the permissions boundary does not exist."""
        boundary = self.backend.checked_boundary(self.operation.text("PermissionsBoundary") or None)
        result = super().create_user()
        self.backend.get_user(self.operation.text("UserName")).permissions_boundary_arn = boundary
        return result

    def create_role(self) -> ActionResult:
        """Answer CreateRole. Raise IamError with the code NoSuchEntity if the permissions boundary does not exist."""
        self.backend.checked_boundary(self.operation.text("PermissionsBoundary") or None)
        return super().create_role()

    def put_user_permissions_boundary(self) -> ActionResult:
        """Answer PutUserPermissionsBoundary."""
        user = self._user()
        user.permissions_boundary_arn = self.backend.checked_boundary(self.operation.text("PermissionsBoundary"))
        return EmptyResult()

    def delete_user_permissions_boundary(self) -> ActionResult:
        """Answer DeleteUserPermissionsBoundary."""
        self._user().permissions_boundary_arn = None
        return EmptyResult()

    def put_role_permissions_boundary(self) -> ActionResult:
        """Answer PutRolePermissionsBoundary."""
        self.backend.checked_boundary(self.operation.text("PermissionsBoundary"))
        return super().put_role_permissions_boundary()
