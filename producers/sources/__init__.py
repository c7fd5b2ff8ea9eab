"""Where examples come from: files of approvals."""
