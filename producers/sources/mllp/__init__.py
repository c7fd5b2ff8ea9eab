"""Takes HL7 v2 messages over MLLP and proposes the conversations in them."""
