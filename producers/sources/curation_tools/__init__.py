"""Takes texts and reviews from curation tools: Label Studio and Argilla."""
