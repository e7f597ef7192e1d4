//! The words that the text of an expression consists of.

use std::any::TypeId;
use std::fmt::Display;

use lance::deps::datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use lance::deps::datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{invalid, Error, Result};

/// The most bytes of an expression: a list of a hundred thousand values and more.
const MAX_BYTES: usize = 4 << 20;

/// Lance's own dialect, which it does not export: names are quoted with backticks.
#[derive(Debug)]
pub struct LanceDialect(GenericDialect);

pub const DIALECT: LanceDialect = LanceDialect(GenericDialect {});

impl Dialect for LanceDialect {
    fn dialect(&self) -> TypeId {
        self.0.dialect()
    }

    fn is_identifier_start(&self, c: char) -> bool {
        self.0.is_identifier_start(c)
    }

    fn is_identifier_part(&self, c: char) -> bool {
        self.0.is_identifier_part(c)
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '`'
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        self.0.supports_bitwise_shift_operators()
    }
}

/// What a parser found wrong, without its name.
pub fn unparsed(message: impl Display) -> Error {
    let message = message.to_string();
    invalid(message.trim_start_matches("sql parser error: "))
}

/// Refuses a text that is too long to be cut into words.
fn short(sql: &str) -> Result<()> {
    match sql.len() > MAX_BYTES {
        false => Ok(()),
        true => Err(invalid(format!(
            "the expression has {} bytes, at most {MAX_BYTES} are read",
            sql.len()
        ))),
    }
}

/// Cuts an expression into words.
pub fn tokens(sql: &str, unescape: bool) -> Result<Vec<TokenWithSpan>> {
    short(sql)?;
    let tokens = Tokenizer::new(&DIALECT, sql)
        .with_unescape(unescape)
        .tokenize_with_location()
        .map_err(unparsed)?;
    for token in &tokens {
        if let Token::DoubleQuotedString(text) = &token.token {
            return Err(invalid(format!(
                "double quotes{}: write a string as '{text}' and a name as `{text}`",
                token.span.start
            )));
        }
    }
    Ok(tokens)
}
