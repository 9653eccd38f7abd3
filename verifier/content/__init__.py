"""Content rules: what an attestation must say, beyond being signed.

A rule is what a person writes below `rule:` (`model.ContentRule`); `evaluate.evaluate` judges one predicate by it, once
per piece of evidence, without a clock. Nothing here verifies a signature, fetches anything, or knows policies, trust
and verdicts: whoever calls has already shown that the bytes are signed, and by whom.
"""
