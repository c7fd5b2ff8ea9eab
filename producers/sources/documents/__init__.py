"""Reads documents for retrieval: Markdown, text, HTML, PDF and DOCX, as headings, paragraphs and rows of tables."""
