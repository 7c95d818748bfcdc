"""How are VBench's sixteen dimensions computed? `spec` has the facts, one file per dimension has its formula."""
