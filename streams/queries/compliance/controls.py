"""The controls that records of revet are evidence for, by framework. A table. Pure.

Controls are named by their numbers and told in our words. Of NIST SP 800-53 the numbers, and the baselines in brackets
(L, M, H; `none`: in no baseline of SP 800-53B), follow the OSCAL catalogue 5.1.1; elsewhere check your edition.
"""

from __future__ import annotations

from typing import Final

from streams.queries.compliance.model import Control, Framework

_CHAIN: Final = "that no record was changed or left out: that is what `revet ledger verify` says"
_STORE: Final = "who may read and delete records: roles and retention are settings of the store"
_NUMBERS: Final = "Numbers of controls differ between editions: check them against yours."

FRAMEWORKS: Final[dict[str, Framework]] = {
    "nist-800-53": Framework("NIST SP 800-53 Rev. 5", "Baselines of SP 800-53B in brackets.", (
        Control("SI-7, SI-7(1) [M H]", "Verify the integrity of software, at defined times, and act on changes.",
                ("verdicts", "rechecked", "violations", "untold")),
        Control("SI-7(2) [H]", "Notify people of integrity discrepancies by themselves.", ("incidents", "findings"),
                "when a message arrived: delivery stands in the alerter's own ledger"),
        Control("SI-7(5) [H]", "Respond automatically to integrity violations.", ("denied", "incidents")),
        Control("SI-7(15) [H]", "Authenticate software cryptographically before it is installed.",
                ("decisions", "signatures", "unadmitted")),
        Control("CM-3 [M H], CM-5(1) [H]", "Control changes; enforce access to them and record who made them.",
                ("trust", "policies", "configuration", "decisions")),
        Control("CM-7(5) [M H]", "Allow software by exception only.", ("decisions", "exemptions", "beside")),
        Control("CM-8 [L M H], (2) [H], (3) [M H]", "Keep an inventory by itself; detect what is not authorised.",
                ("inventory", "runs", "unadmitted")),
        Control("CM-14 [none]", "Install nothing without a recognised signature.",
                ("signatures", "violations", "decisions")),
        Control("SR-4 [none], SR-4(3), (4) [none]", "Know where components come from, and that they are genuine.",
                ("provenance", "attestations", "signatures")),
        Control("SR-10, SR-11 [L M H]", "Inspect for tampering; detect counterfeits and report them.",
                ("violations", "findings")),
        Control("AU-2, AU-12 [L M H], AU-12(1) [H]", "Record defined events, across the system, in order of time.",
                ("decisions", "runs", "verdicts", "trust")),
        Control("AU-5 [L M H], AU-5(2) [H]", "Tell people when recording fails.", ("feeds", "stalled", "unread")),
        Control("AU-6 [L M H], AU-7 [M H]", "Review, correlate and report records.", ("incidents", "handled")),
        Control("AU-9 [L M H], AU-11 [L M H]", "Protect records and keep them.", ("trust",), f"{_CHAIN}; {_STORE}"),
        Control("AU-10 [H]", "Bind acts to those who acted.", ("trust", "decisions"), _CHAIN),
        Control("IR-4 [L M H], IR-5 [L M H]", "Handle and track incidents.", ("incidents", "handled")),
        Control("SI-4 [L M H], CA-7 [L M H]", "Monitor continuously.", ("rechecked", "feeds", "findings")),
        Control("SC-12 [L M H], SC-17 [M H]", "Manage keys; accept approved trust anchors only.",
                ("keys", "revocations")),
    )),
    "nist-800-190": Framework("NIST SP 800-190", _NUMBERS, (
        Control("4.1.5 untrusted images", "Run trusted, signed images only; check before execution and go on watching.",
                ("decisions", "signatures", "violations", "rechecked")),
        Control("4.2.2 stale images", "Use current, known images.", ("inventory", "runs"),
                "whether an image has known vulnerabilities: revet scans nothing"),
        Control("4.4.5 rogue containers", "Detect containers that came in outside the process.",
                ("unadmitted", "beside", "findings")),
    )),
    "ssdf": Framework("NIST SP 800-218 (SSDF)", _NUMBERS, (
        Control("PS.2.1", "Let those who get software verify its integrity.", ("signatures", "verdicts")),
        Control("PS.3.1, PS.3.2", "Archive releases with their provenance.", ("provenance", "attestations"),
                "releases that never ran in a cluster that revet sees"),
        Control("PW.4.4", "Verify that acquired components are what they should be.", ("verdicts", "violations")),
        Control("RV.1.1, RV.2.2", "Find and respond to what is wrong in what was released.", ("findings", "handled")),
        Control("RV.3", "Find the root cause.", ("incidents", "revocations"),
                "the root cause itself: a record names the change that made a verdict fall, not why it came about"),
    )),
    "iso-27001": Framework("ISO/IEC 27001:2022, Annex A", _NUMBERS, (
        Control("A.5.21", "Manage security in the ICT supply chain.", ("verdicts", "provenance", "keys")),
        Control("A.5.24 to A.5.27", "Plan for, assess, answer and learn from incidents.", ("incidents", "handled"),
                "plans and lessons: they are documents of yours"),
        Control("A.5.28, A.5.33", "Collect evidence; protect records.", ("trust", "decisions"), f"{_CHAIN}; {_STORE}"),
        Control("A.8.8, A.8.9", "Manage technical vulnerabilities and configuration.",
                ("configuration", "attestations"),
                "vulnerabilities: revet reads attestations of scans and scans nothing"),
        Control("A.8.15, A.8.16, A.8.17", "Log, monitor, with clocks that agree.", ("decisions", "feeds", "stalled"),
                "that clocks of clusters agree"),
        Control("A.8.19", "Control what is installed on systems in operation.", ("decisions", "unadmitted")),
        Control("A.8.24", "Use cryptography by rules.", ("keys", "revocations", "signatures")),
        Control("A.8.32", "Manage changes.", ("trust", "policies", "exemptions")),
    )),
    "pci-dss": Framework("PCI DSS 4.0.1", _NUMBERS, (
        Control("6.3.2", "Keep an inventory of software and its components.", ("inventory", "provenance"),
                "components inside an image: the record names attestations, not their content"),
        Control("6.5.1", "Change production by a process with approval.", ("decisions", "trust", "exemptions"),
                "approvals that were given elsewhere"),
        Control("10.2.1, 10.2.2", "Log events with who, what, when, where from and the outcome.",
                ("decisions", "trust", "incidents")),
        Control("10.3.1 to 10.3.4", "Protect logs from change.", ("trust",), f"{_CHAIN}; {_STORE}"),
        Control("10.4.1, 10.4.1.1", "Review logs daily, by machine.", ("findings", "incidents", "handled")),
        Control("10.5.1", "Keep twelve months of history, three at hand.", ("decisions", "verdicts", "trust"), _STORE),
        Control("10.7.2, 10.7.3", "Detect, tell and answer failures of critical controls.",
                ("stalled", "feeds", "unread")),
        Control("11.5.2", "Detect changes of critical files, compared at least weekly.", ("rechecked", "runs"),
                "files inside running containers and hosts: images are compared by digest"),
        Control("12.10.5", "Answer alerts of monitoring systems.", ("incidents", "handled")),
    )),
    "hipaa": Framework("HIPAA Security Rule (45 CFR 164)", "Which workloads touch ePHI, your namespaces must tell.", (
        Control("164.308(a)(1)(ii)(D)", "Review the activity of information systems.", ("decisions", "findings")),
        Control("164.308(a)(6)(ii)", "Answer security incidents and document them.", ("incidents", "handled")),
        Control("164.312(b)", "Record and examine activity.", ("decisions", "runs", "verdicts", "trust")),
        Control("164.312(c)(1), (2)", "Protect ePHI from improper alteration, and corroborate it.",
                ("verdicts", "violations"), "ePHI itself: only the images that work on it are verified"),
        Control("164.316(b)(2)(i)", "Keep documentation for six years.", ("trust", "incidents"), _STORE),
    )),
}  # fmt: skip
"""Name on the command line -> its controls."""
