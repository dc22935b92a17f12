"""The former place of ``Launch``, which YAML files of users name as a Hydra callback.

New configurations name ``mgf_fairseq.host.launcher.Launch``.
"""

from .host.launcher import Launch as Launch
