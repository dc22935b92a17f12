"""Tables of fabricated results."""

from mgf_fairseq.report.collect import collect
from mgf_fairseq.report.table import make_table


def table_of(*sources, baseline=None):
    return make_table(collect(sources), baseline)


def cell_of(table, label, task, metric, variant=""):
    column = next(
        c for c in table.columns if (c.task, c.metric, c.variant) == (task, metric, variant)
    )
    return table.cells[label, column]
