#!/usr/bin/env bash
# kdbench check for a CI job: summary, reports, annotations, and the exit code of the gates.
set -euo pipefail

reports=${KDBENCH_REPORTS:-kdbench-reports}
mkdir -p "$reports"
[ -z "${KDBENCH_INSTALL:-}" ] || pip install -q "$KDBENCH_INSTALL"

options=()
[ -z "${KDBENCH_RESULTS:-}" ] || options+=(--results "$KDBENCH_RESULTS")
case "${KDBENCH_RUN:-false}" in
    true) kdbench run "${options[@]}" -- "$KDBENCH_SUITE" ;;
    until-decided) kdbench run "${options[@]}" --until-decided -- "$KDBENCH_SUITE" ;;
esac
[ -z "${KDBENCH_BASELINE:-}" ] || options+=(--baseline "$KDBENCH_BASELINE")
[ -z "${KDBENCH_SITE:-}" ] || options+=(--site "$KDBENCH_SITE")

code=0
kdbench check "${options[@]}" --inconclusive "${KDBENCH_INCONCLUSIVE:-report}" \
    --output "markdown=$reports/gates.md" --output "junit=$reports/gates.xml" \
    --output "json=$reports/gates.json" --output github=- -- "$KDBENCH_SUITE" || code=$?

if [ -f "$reports/gates.md" ]; then
    cat "$reports/gates.md" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
fi
verdict=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["verdict"])' \
    "$reports/gates.json" 2>/dev/null || echo none)
{
    echo "verdict=$verdict"
    echo "exit-code=$code"
} >> "${GITHUB_OUTPUT:-/dev/null}"
exit "$code"
