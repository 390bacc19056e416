"""Known vulnerabilities of the packages that are installed here, by pip-audit: `python -m tests.security.audit`.

Exit status 1 if there are any. Where the database of vulnerabilities is out of reach nothing is known, and pip-audit
says so in two ways: by a traceback, or, with a mirror between, by "not found" for every package and status 0. Both are
told as "not audited", with status 0, or 2 with --required.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass

COMMAND = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--format", "json"]
COMMAND += ["--progress-spinner", "off"]


@dataclass(frozen=True, slots=True)
class Audit:
    """What pip-audit has found. `vulnerable` has a line for each vulnerability."""

    audited: int
    skipped: int
    vulnerable: tuple[str, ...]
    trouble: str = ""

    def status(self, *, required: bool) -> int:
        """The exit status."""
        if self.vulnerable:
            return 1
        return 2 if required and not self.audited else 0

    def __str__(self) -> str:
        if not self.audited:
            return (
                f"not audited: the database of vulnerabilities is out of reach ({self.trouble or 'nothing is known'})"
            )
        lines = [
            f"{self.audited} packages audited, {self.skipped} skipped, {len(self.vulnerable)} vulnerabilities known"
        ]
        return "\n".join([*lines, *self.vulnerable])


def read(output: str, errors: str) -> Audit:
    """What pip-audit has written to standard output and standard error."""
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = errors.strip().splitlines()[-1:] or [""]
        return Audit(0, 0, (), last[0][:200])
    audited = [dependency for dependency in dependencies if "skip_reason" not in dependency]
    vulnerable = [
        f"{dependency['name']} {dependency['version']}: {found['id']}"
        + (f", mended in {', '.join(found['fix_versions'])}" if found.get("fix_versions") else "")
        for dependency in audited
        for found in dependency["vulns"]
    ]
    reasons = [dependency["skip_reason"] for dependency in dependencies if "skip_reason" in dependency]
    return Audit(len(audited), len(reasons), tuple(vulnerable), reasons[0] if reasons else "")


def main() -> int:
    if importlib.util.find_spec("pip_audit") is None:
        print("pip-audit is missing: pip install pip-audit", file=sys.stderr)
        return 2
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    audit = read(done.stdout, done.stderr)
    print(audit)
    return audit.status(required="--required" in sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
