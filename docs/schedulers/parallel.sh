#!/bin/sh
# Start two workers of a rollout on each computer of the file `computers`, over ssh. The arguments are the numbers of
# all workers: PLAN_SHA256=... sh parallel.sh 1 2 3 4
#
# Each computer has mfa-kit, worker.sh, the plan and the configuration file with the address of the ledger in the home
# folder of the user. The password of the database is in ~/.pgpass there, and AWS's keys are those of the profile.
# Each line of the output begins with the number of its worker. parallel.log has the exit code of each worker.
set -eu
parallel --sshloginfile computers --jobs 2 --tag --line-buffer --joblog parallel.log \
    sh worker.sh plan/index.json --expect-sha256 "$PLAN_SHA256" --org --role-name mfa-kit-enroll \
    --recipients-file recipients.txt --backup-dir s3://example-mfa-backups/mfa --results results-{} \
    --no-input --output jsonl ::: "$@"
