//! An instruction with its input, as a prompt.

/// An instruction as what a user says in a conversation, as LLaMA-Factory writes it.
pub(super) fn instruction_text(instruction: &str, input: &str) -> String {
    if input.trim().is_empty() {
        return instruction.to_owned();
    }
    format!("{instruction}\n{input}")
}

/// The prompt of Stanford Alpaca (Taori et al. 2023), with a line end after `### Response:`.
pub(super) fn instruction_prompt(instruction: &str, input: &str) -> String {
    if input.trim().is_empty() {
        return format!(
            "Below is an instruction that describes a task. Write a response that appropriately \
             completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
        );
    }
    format!(
        "Below is an instruction that describes a task, paired with an input that provides \
         further context. Write a response that appropriately completes the request.\n\n\
         ### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
    )
}
