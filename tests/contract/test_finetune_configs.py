"""Every fine-tuning recipe composes through fairseq's own hydra entry without an unknown key."""

from __future__ import annotations

import pytest
from fairseq.dataclass.initialize import add_defaults, hydra_init
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from mgf_fairseq.utils.package import config_dir

CONFIG = config_dir("finetune")
RECIPES = sorted(path.stem for path in CONFIG.glob("*.yaml"))
GIVEN = ["task.data=data", "model.w2v_path=ck.pt", "checkpoint.save_dir=out"]
GIVEN += ["common.user_dir=null", "task.labels=ltr"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_composes_and_its_values_survive_the_defaults(recipe: str) -> None:
    hydra_init(recipe)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG), version_base="1.1"):
        config = compose(recipe, overrides=GIVEN)
    add_defaults(config)  # merges with the typed classes: an unknown key raises
    assert config.common.log_interval == 50
    assert config.lr_scheduler._name == "tri_stage"
    assert config.model.freeze_finetune_updates < config.optimization.max_update
    assert config.dataset.train_subset.startswith("train")
    assert config.task.normalize is True


def test_a_misspelled_key_is_refused() -> None:
    hydra_init("ctc_all")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG), version_base="1.1"):
        config = compose("ctc_all", overrides=[*GIVEN, "+model.mask_probb=0.5"])
    with pytest.raises(Exception, match="mask_probb"):
        add_defaults(config)
