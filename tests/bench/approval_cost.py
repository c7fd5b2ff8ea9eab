from tests.bench.frame import Entry

ENTRY = Entry("approval_cost", None, ())
