"""Certificates of networks: proofs that no input of a ball is misclassified, and bounds of outputs over boxes."""

from robustgames.certificates.bounds import CROWN, IBP
from robustgames.certificates.boxes import output_bounds
from robustgames.certificates.certificate import Certificate
from robustgames.certificates.exact import MILP
from robustgames.certificates.linear import Linear
from robustgames.certificates.smoothing import Smoothing
from robustgames.certificates.table import CERTIFICATES, certificate_of, certify
from robustgames.certificates.verdicts import Verdicts, clopper_pearson

__all__ = [
    "CERTIFICATES",
    "CROWN",
    "IBP",
    "MILP",
    "Certificate",
    "Linear",
    "Smoothing",
    "Verdicts",
    "certificate_of",
    "certify",
    "clopper_pearson",
    "output_bounds",
]
