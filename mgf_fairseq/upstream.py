"""The former place of ``load_upstream``, which scripts of users import.

New scripts import it from ``mgf_fairseq.extract.upstream``.
"""

from .extract.upstream import load_upstream as load_upstream
