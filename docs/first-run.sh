#!/usr/bin/env bash
# The main job, from an empty account to a device that works, with every step judged by a program that is not ours:
#
#   mfa-kit lab run -- bash docs/first-run.sh
#
# needs Debian's age, zbar-tools and oathtool beside mfa-kit[lab]. The seed goes through pipes only: it is in no file
# but the sealed one, in no variable and on no command line.
set -euo pipefail
umask 077

LAB=000000000000
desk=$(mktemp -d)
trap 'rm -rf "$desk"' EXIT
export MFA_KIT_HOME=$desk

step() { printf '\n== %s\n' "$*"; }

step "A key pair that opens backups"
age-keygen -o "$desk/identity.txt"
recipient=$(age-keygen -y "$desk/identity.txt")

step "alice gets a virtual MFA device"
mfa-kit enroll alice --with virtual --codes generated -r "$recipient" --account "$LAB"

step "age opens her backup, zbarimg reads it, oathtool gives the next two codes"
backup=("$desk/backups/$LAB/alice/"*.png.age)
# IAM wants a pair above the one that enabled the device, so these are of the next two half minutes.
age -d -i "$desk/identity.txt" "${backup[0]}" | zbarimg --quiet --nodbus --raw - |
    sed -nE 's/^otpauth:.*[?&]secret=([A-Z2-7]+).*/\1/p' |
    oathtool --totp --base32 --window 1 --now "$(date --utc --date='now + 30 seconds' '+%F %T UTC')" - >"$desk/codes.txt"
echo "$(wc -l <"$desk/codes.txt") codes"

step "IAM takes them: ResyncMFADevice over boto3"
python -c '
import sys, boto3
first, second = sys.stdin.read().split()
iam = boto3.client("iam")
[device] = iam.list_mfa_devices(UserName="alice")["MFADevices"]
iam.resync_mfa_device(
    UserName="alice",
    SerialNumber=device["SerialNumber"],
    AuthenticationCode1=first,
    AuthenticationCode2=second,
)
print(device["SerialNumber"], "answers with the codes of the backup")
' <"$desk/codes.txt"
