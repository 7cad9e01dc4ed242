"""A virtual machine for tests: QEMU with Debian's kernel on this root file system, read-only, under a tmpfs.

There is no image to build. An initramfs of 4 MB mounts the host's root over 9p. The guest runs the software that is
installed on the host and changes none of it. The guest has no network.
"""

import gzip
import io
import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, judge, without

BOOT, MODULES = Path("/boot"), Path("/lib/modules")
NEEDED = ("9pnet_virtio", "9p", "overlay")
# A guest that hangs is stopped after this time. tests/bench/guest.py has a stricter bound.
SECONDS = 540
MEMORY = 1024

# The first program loads the modules, mounts the host's root under a tmpfs, and starts the second program.
INITRAMFS = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for m in /m/*; do $B insmod $m; done
O=trans=virtio,version=9p2000.L,msize=512000
$B mount -t 9p -o $O,ro,cache=loose root /lower || $B poweroff -f
$B mount -t tmpfs -o size=50% rw /rw; $B mkdir /rw/u /rw/w
$B mount -t overlay -o lowerdir=/lower,upperdir=/rw/u,workdir=/rw/w ov /new
$B mkdir -p /new/out; $B mount -t 9p -o $O,rw,cache=none out /new/out
for d in proc sys dev; do $B mount --move /$d /new/$d; done
exec $B switch_root /new /out/init
"""
# The second program sets up what systemd would, and runs the job. The machine stops when it ends.
INIT = """#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
ip link set lo up
/out/job </dev/null >/out/log 2>&1; echo $? >/out/status
sync; exec busybox poweroff -f
"""


@dataclass(frozen=True)
class Ran:
    """The results of a guest: the job's status, its output, and the content of /out/found.json."""

    status: int
    log: str
    found: dict[str, Any]
    seconds: float


def _kernel() -> tuple[Path, str]:
    kernels = sorted(BOOT.glob("vmlinuz-*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    for kernel in reversed(kernels):
        version = kernel.name.removeprefix("vmlinuz-")
        if (MODULES / version / "modules.dep").exists():
            return kernel, version
    without("no kernel with its modules: install linux-image-amd64")
    raise AssertionError


def _initramfs(version: str) -> bytes:
    """Build the archive: busybox, and the modules that mount the host's root."""
    shown = subprocess.run(
        [judge("modprobe"), "-S", version, "-a", "--show-depends", *NEEDED], capture_output=True, text=True, check=True
    )
    modules = dict.fromkeys(line.split()[1] for line in shown.stdout.splitlines() if line.startswith("insmod"))
    files = {"init": INITRAMFS.encode(), "bin/busybox": Path(judge("busybox")).read_bytes()}
    for number, module in enumerate(modules):
        name = f"m/{number:02}-{Path(module).name}"
        if module.endswith(".xz"):
            plain = subprocess.run([judge("xz"), "-dc", module], capture_output=True, check=True).stdout
            files[name.removesuffix(".xz")] = plain
        else:
            files[name] = Path(module).read_bytes()
    folders = ("bin", "dev", "proc", "sys", "lower", "rw", "new", "m")
    return gzip.compress(_cpio(folders, files), 1)


def _cpio(folders: tuple[str, ...], files: dict[str, bytes]) -> bytes:
    """Write an archive in the kernel's format (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = io.BytesIO()

    def entry(name: str, mode: int, data: bytes) -> None:
        numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out.write(b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0")
        out.write(bytes(-out.tell() % 4))
        out.write(data)
        out.write(bytes(-out.tell() % 4))

    for folder in folders:
        entry(folder, 0o40755, b"")
    for name, data in files.items():
        entry(name, 0o100755, data)
    entry("TRAILER!!!", 0, b"")
    return out.getvalue()


def boot(folder: Path, job: str) -> Ran:
    """Run a shell script as root in a guest. `folder` is the guest's /out."""
    if platform.machine() != "x86_64":
        without("the guest is an x86_64 machine")
    qemu = judge("qemu-system-x86_64")
    kernel, version = _kernel()
    initramfs = folder.with_name("initramfs")
    initramfs.write_bytes(_initramfs(version))
    for name, text in (("init", INIT), ("job", job)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    began = time.monotonic()
    done = subprocess.run(
        ["timeout", "-k", "5", str(SECONDS), qemu, *_machine(kernel, initramfs, folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    seconds = time.monotonic() - began
    console = (done.stdout + done.stderr)[-3000:]
    assert (folder / "status").exists(), f"the guest did not end by itself in {seconds:.0f} s: {console}"
    log = (folder / "log").read_text("utf-8", "replace")
    status = int((folder / "status").read_text())
    found = json.loads((folder / "found.json").read_text()) if (folder / "found.json").exists() else {}
    return Ran(status, log, found, seconds)


def _machine(kernel: Path, initramfs: Path, out: Path) -> list[str]:
    """Return QEMU's options. /dev/kvm may exist without the processor's flag, and QEMU would then hang."""
    flags = Path("/proc/cpuinfo").read_text("utf-8")
    fast = re.search(r"\b(vmx|svm)\b", flags) and os.access("/dev/kvm", os.R_OK | os.W_OK)
    shared = "security_model=none"
    append = "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check"
    return [
        *("-accel", "kvm" if fast else "tcg,thread=multi,tb-size=512"),
        *("-cpu", "host" if fast else "Haswell-noTSX"),
        *("-machine", "q35,usb=off,vmport=off", "-smp", "1", "-m", str(MEMORY), "-nodefaults", "-display", "none"),
        *("-serial", "stdio", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initramfs)),
        *("-append", f"{append} random.trust_cpu=on cryptomgr.notests raid=noautodetect audit=0 apparmor=0"),
        *("-fsdev", f"local,id=r,path=/,{shared},readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=r,mount_tag=root"),
        *("-fsdev", f"local,id=o,path={out},{shared}", "-device", "virtio-9p-pci,fsdev=o,mount_tag=out"),
        *("-device", "virtio-rng-pci"),
    ]


def reachable() -> str:
    """Return a shell line that gives unprivileged users of the guest access to this interpreter and this checkout."""
    ends = {
        Path(sys.executable),
        Path(sys.executable).resolve(),
        Path(sys.prefix),
        Path(sys.base_prefix).resolve(),
        ROOT,
    }
    folders = sorted({str(above) for end in ends for above in (end, *end.parents) if above.is_dir()} - {"/"})
    return f"chmod a+rx {' '.join(folders)}"
