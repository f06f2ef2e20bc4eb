"""Classes of transformers that `slam export` writes beside the weights. The plugin itself never imports them."""
