from tests.bench.frame import Entry

ENTRY = Entry("adapter_first_token", None, ())
