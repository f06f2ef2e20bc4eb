"""Workaround for Weights & Biases."""

from fairseq.logging import progress_bar

from slam_plugin.compat.workaround import Workaround


def _keep_one_run() -> None:
    wrapper = progress_bar.WandBProgressBarWrapper
    original = wrapper.__init__

    def __init__(self, wrapped_bar, wandb_project, run_name=None):
        if progress_bar.wandb is None:
            original(self, wrapped_bar, wandb_project, run_name)  # warns that the package is missing
            return
        self.wrapped_bar = wrapped_bar
        if progress_bar.wandb.run is None:
            progress_bar.wandb.init(project=wandb_project, name=run_name)

    def update_config(self, config):
        if progress_bar.wandb is not None:
            progress_bar.wandb.config.update(config, allow_val_change=True)
        self.wrapped_bar.update_config(config)

    wrapper.__init__, wrapper.update_config = __init__, update_config


WORKAROUNDS = (
    Workaround(
        "one tracked run",
        "each epoch and each validation starts the run of Weights & Biases anew, which warns and leaves an empty "
        "folder, and a run that resumes with another flag, such as a higher --max-update, dies of a ConfigError",
        _keep_one_run,
    ),
)
