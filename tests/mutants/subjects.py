"""What is judged: the functions that decide about settling, adoption, proofs, the identity of keys, and manifests."""

from tests.mutants.judging import Subject

SUBJECTS = (
    Subject(
        module="mfa_kit.enrollment.settling",
        names=(
            *("settle", "_undo", "_look", "_go_on", "is_complete", "remove_copies", "_on_another_key", "still_stands"),
            *("record_confirmed", "record_all_confirmed", "replaced_entry", "_is_ours", "_is_meant", "settle_each"),
            *("_may_still_arrive", "_settled", "find_device", "wait_until_listed", "STILL_ON_ITS_WAY"),
        ),
        tests=("tests/enroll/test_recovery.py",),
    ),
    Subject(
        module="mfa_kit.rollout.proven_devices",
        names=(
            *("ProvenDevices.settled", "why_unproven", "prove_devices", "_Known", "_as_in_iam"),
            *("record_adopted", "adopt_devices"),
        ),
        tests=("tests/rollout/test_proven_devices.py",),
    ),
    Subject(
        module="mfa_kit.core.device_records",
        names=("RunRecords.lacking_in",),
        tests=("tests/rollout/test_proven_devices.py",),
    ),
    Subject(
        module="mfa_kit.rollout.proofs",
        names=(
            *("find_pairs", "find_code", "prove", "judge", "_check_time", "_find_pair", "_find_single", "_nearest"),
            *("_check_clock", "_named_line", "_plain_line", "_line", "_read_time", "read_proofs", "_checked_header"),
            *("BACK", "AHEAD", "SINGLE", "TOLERATED", "MOST_LINES", "MINUTE"),
        ),
        tests=("tests/rollout/test_proofs.py",),
    ),
    Subject(
        module="mfa_kit.core.recorded_keys",
        names=("KeyFacts.identity", "KeyFacts.joined", "KeyFacts.beside", "vendor_of", "KeyDevice"),
        tests=("tests/fido/test_key_identity.py",),
    ),
    Subject(
        module="mfa_kit.cli.key.sources",
        names=("KeyRow.answers_to", "KeyRow.joined", "join_rows", "_same", "_by_name", "_named_after"),
        tests=("tests/fido/test_key_identity.py",),
    ),
    Subject(
        module="mfa_kit.rollout.key_slot",
        names=("KeyHolders", "_may_share", "_on_key"),
        tests=("tests/rollout/test_queue.py",),
    ),
    Subject(
        module="mfa_kit.break_glass.custodians",
        names=(
            *("Custodian", "Group", "_check_names", "_check_keys", "set_of_file", "Manifest", "parse_manifest"),
            *("_custodians", "_text", "_hmac", "_number", "COVERED", "MOST_SETS"),
        ),
        tests=(
            "tests/break_glass/test_sets.py",
            "tests/break_glass/test_rules.py",
            "tests/break_glass/test_planted.py",
        ),
    ),
    Subject(
        module="mfa_kit.break_glass.proof",
        names=(
            *("fault_of", "_last_sealed", "choose_rotation", "_fault_of_rotation", "locate", "find_for_backup"),
            *("prove", "accept_one"),
        ),
        tests=("tests/break_glass/test_rules.py", "tests/break_glass/test_planted.py"),
    ),
)
