"""Report: how faithful, useful and disclosive synthetic records are, each figure beside its floor."""
