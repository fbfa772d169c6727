//! Data as a person writes it, through the public interface.

mod chat_golden;
mod chat_masks;
mod data_bad_files;
mod data_properties;
mod hostile_templates;
mod plain_chat_golden;
mod rows_as_meant;
mod token_warnings;
mod tokens_golden;
