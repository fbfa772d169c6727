//! A conversation with a trial's adapter, or with the base model.

use store::SweepFolder;
use trainer::generate::{AdapterId, Sampling};

use super::loaded::{Loaded, Opened};
use super::prompts::Question;
use super::stream::AnswerEvent;
use super::{Answer, DecodingOptions, Writer, WriterOptions};
use crate::error::Error;

/// A conversation. Each turn is answered with all turns before it, in the chat template of the model.
pub struct Chat {
    loaded: Loaded,
    writer: (Writer, Option<AdapterId>),
    decoding: DecodingOptions,
    /// Role and text of each turn so far.
    turns: Vec<(&'static str, String)>,
    /// Turns that were answered, in conversations before this one too.
    answered: u64,
    warnings: Vec<String>,
}

impl Chat {
    pub(crate) fn open(
        folder: &SweepFolder,
        writer: WriterOptions,
        decoding: DecodingOptions,
    ) -> Result<Self, Error> {
        let opened = Opened::of(folder)?;
        let reader = opened.reader(&opened.rows()?)?;
        let loaded = opened.load(folder, writer, reader)?;
        let writer = loaded.trial.unwrap_or((Writer::Base, None));
        let (turns, warnings) = (Vec::new(), opened.warnings);
        Ok(Self { loaded, writer, decoding, turns, answered: 0, warnings })
    }

    /// Who answers.
    pub const fn writer(&self) -> Writer {
        self.writer.0
    }

    /// What is not as it should be.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Says `text` and waits for the answer; `tell` is called as it is written. After an error the
    /// conversation is as it was before.
    pub fn say(
        &mut self,
        text: &str,
        tell: &mut dyn FnMut(&AnswerEvent<'_>),
    ) -> Result<Answer, Error> {
        let said = self.turns.iter().map(|(role, text)| (*role, text.as_str()));
        let asked = self.loaded.reader.of_turns(said.chain([("user", text)]));
        let asked = asked.map_err(|why| Error::Prompt { place: None, why })?;
        let mut decoding = self.decoding.clone();
        // The same words would otherwise be answered by the same draws.
        let of_turn = |sampling: Sampling| Sampling {
            seed: sampling.seed.wrapping_add(self.answered),
            ..sampling
        };
        decoding.sampling = decoding.sampling.map(of_turn);
        let questions = [Question { place: None, asked }];
        let mut written = self.loaded.write(&questions, &[self.writer], &decoding, tell)?;
        let answer = written
            .pop()
            .ok_or_else(|| Error::Prompt { place: None, why: "it was not answered".to_owned() })?;
        self.turns.push(("user", text.to_owned()));
        self.turns.push(("assistant", answer.text.clone()));
        self.answered += 1;
        Ok(answer)
    }

    /// Forgets all turns.
    pub fn reset(&mut self) {
        self.turns.clear();
    }
}
