"""The GPT's step as machine code of our own, made at load by LLVM for the processor at hand."""
