"""`miniwsgi check`: the certificates that the configuration names, as the daemon would read them."""

from __future__ import annotations

import os
import time

from miniwsgi.codes import Code

from ..config import Config, Note
from ..config.tls_options import CREDENTIAL, Secured
from ..master.certificates.files import CREDENTIALS_DIRECTORY, CertificateFiles
from ..tls.verification import UnusableError, date
from .terminal import complain, report, tell


def check_certificates(config: Config) -> bool:
    """Whether all are good; what is wrong with them is said, each with what to do."""
    files, good = CertificateFiles(os.environ), True
    secured = {(one.pairs, one.client_ca): one for one in (*config.server.bind, config.metrics.bind) if one.secure}
    for one in secured.values():
        if CREDENTIALS_DIRECTORY not in os.environ and any(name.startswith(CREDENTIAL) for name in one.files):
            report("certificate", one.certificate[0], f"not looked at: only the unit has ${CREDENTIALS_DIRECTORY}")
        elif not _check(one, files):
            good = False
    return good


def _check(secured: Secured, files: CertificateFiles) -> bool:
    try:
        verified = files.load(secured).verified
    except UnusableError as error:
        for flaw in error.flaws:
            complain(Code.CERTIFICATE_UNUSABLE, flaw)
        return False
    now = time.time()
    for served in verified.served:
        if why := served.untimely(now):
            report("certificate", served.file, why, failed=True)
        else:
            report("certificate", served.file, f"for {', '.join(served.names)}, until {date(served.not_after)}")
    tell(Note(Code.CERTIFICATE_DOUBTFUL, doubt) for doubt in verified.warnings)
    return not verified.untimely(now)
