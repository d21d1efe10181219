"""A GPT made of nanograd layers: model, data, training, sampling."""
