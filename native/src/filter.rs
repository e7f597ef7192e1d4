//! Filters and expressions: SQL as users write it, with their own names of columns.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Schema as ArrowSchema};
use lance::datatypes::Schema;
use lance::deps::datafusion::common::DFSchema;
use lance::deps::datafusion::logical_expr::{Expr, ExprSchemable};
use lance::deps::datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use lance::deps::datafusion::sql::sqlparser::parser::Parser;
use lance::deps::datafusion::sql::sqlparser::tokenizer::{
    Location, Token, TokenWithSpan, Tokenizer,
};
use lance_core::ROW_ID;
use lance_datafusion::planner::Planner;

use crate::error::{Error, Result, Status};

/// Lance's own dialect, which it does not export: names are quoted with
/// backticks, and double quotes hold strings.
#[derive(Debug)]
struct LanceDialect(GenericDialect);

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

fn invalid(message: impl std::fmt::Display) -> Error {
    let message = message.to_string();
    let message = message.trim_start_matches("sql parser error: ");
    Error::new(Status::InvalidArgument, message)
}

/// Makes expressions of filters over the columns of one schema.
pub struct Filters {
    planner: Planner,
    schema: DFSchema,
}

impl Filters {
    pub fn new(columns: &Schema) -> Result<Self> {
        let mut fields: Vec<_> = ArrowSchema::from(columns)
            .fields()
            .iter()
            .cloned()
            .collect();
        fields.push(Arc::new(ArrowField::new(ROW_ID, DataType::UInt64, true)));
        let schema = Arc::new(ArrowSchema::new(fields));
        Ok(Self {
            schema: DFSchema::try_from(schema.as_ref().clone()).map_err(lance::Error::from)?,
            planner: Planner::new(schema),
        })
    }

    /// The expression of a filter. What is wrong with it is said with its place in
    /// `sql`, or with the name as it is stored.
    pub fn parse(&self, sql: &str, names: &HashMap<String, String>) -> Result<Expr> {
        let stored = translate(sql, names)?;
        let expr = self.planner.parse_filter(&stored)?;
        let kind = expr.get_type(&self.schema).map_err(lance::Error::from)?;
        if kind != DataType::Boolean {
            return Err(invalid(format!("{expr} is {kind}, want true or false")));
        }
        Ok(self.planner.optimize_expr(expr)?)
    }
}

/// Begins those of the names that are of fields inside columns, which follow a period.
const WITHIN_COLUMN: &str = "\0";

/// The SQL with each name that `names` has replaced by what it stands for.
pub fn translate(sql: &str, names: &HashMap<String, String>) -> Result<String> {
    let dialect = LanceDialect(GenericDialect {});
    let tokens = Tokenizer::new(&dialect, sql)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(invalid)?;
    check(&dialect, tokens.clone()).map_err(|e| placed(e, sql))?;
    let mut out = String::with_capacity(sql.len());
    let mut within = false;
    for token in tokens {
        let prefix = if within { WITHIN_COLUMN } else { "" };
        within = token.token == Token::Period;
        match token.token {
            Token::Word(word) if matches!(word.quote_style, None | Some('`')) => {
                match names.get(&format!("{prefix}{}", word.value.replace("``", "`"))) {
                    Some(stored) => out.push_str(&quote(stored)),
                    None => out.push_str(&word.to_string()),
                }
            }
            token => out.push_str(&token.to_string()),
        }
    }
    Ok(out)
}

/// Says where the end of the text is if that is what is wrong.
fn placed(error: Error, sql: &str) -> Error {
    let message = error.to_string();
    if !message.ends_with("found: EOF") {
        return error;
    }
    let line = sql.split('\n').count();
    let column = sql.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let place = Location::new(line as u64, column as u64);
    invalid(format!("{message}{place}"))
}

/// Refuses what is not one expression, and says where.
fn check(dialect: &dyn Dialect, tokens: Vec<TokenWithSpan>) -> Result<()> {
    let mut parser = Parser::new(dialect).with_tokens_with_locations(tokens);
    parser.parse_expr().map_err(invalid)?;
    let rest = parser.peek_token();
    match rest.token {
        Token::EOF => Ok(()),
        _ => Err(invalid(format!(
            "Expected: the end, found: {rest}{}",
            rest.span.start
        ))),
    }
}

/// What is wrong with a filter, without what says nothing to a user, and with what
/// would be right where that is known.
pub fn fault(e: &Error) -> Error {
    let mut message = e.to_string();
    for prefix in ["Invalid user input: ", "Schema error: "] {
        message = message.replace(prefix, "");
    }
    if message.starts_with("Error resolving filter expression") {
        if let Some(at) = message.find("Received literal") {
            message.drain(..at);
        }
    }
    if let Some(at) = message.find(" Valid fields are") {
        message.truncate(at);
    }
    let advice = [
        (
            "LargeBinary",
            "a column of JSON is reached into by json_get_int(column, 'key'), json_get_float, \
             json_get_string, json_get_bool and json_extract(column, '$.key')",
        ),
        (
            "of type 'Timestamp",
            "write timestamp '2026-11-23 10:00:00'",
        ),
        ("of type 'Date", "write date '2026-11-23'"),
    ];
    for (sign, text) in advice {
        if message.contains(sign) {
            message.push_str("; ");
            message.push_str(text);
        }
    }
    invalid(format!("filter: {message}"))
}

/// A stored name as a part of a path.
pub fn quote(stored: &str) -> String {
    format!("`{stored}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> HashMap<String, String> {
        [
            ("a.b", "a%2Eb"),
            ("x`y", "x%60y"),
            ("_offset", "_rowid"),
            ("", "%"),
            ("\0x%y", "x%25y"),
        ]
        .map(|(name, stored)| (name.to_string(), stored.to_string()))
        .into()
    }

    #[test]
    fn names_are_translated_and_nothing_else() {
        for (filter, want) in [
            ("a = 1", "a = 1"),
            ("`a.b` = 'a.b'", "`a%2Eb` = 'a.b'"),
            ("`a.b` = \"a.b\"", "`a%2Eb` = \"a.b\""),
            ("a.b = 1", "a.b = 1"),
            ("s.`a.b` = 1", "s.`a.b` = 1"),
            ("s.`x%y`.`x%y` = `x%y`", "s.`x%25y`.`x%25y` = `x%y`"),
            ("`x``y` IS NULL", "`x%60y` IS NULL"),
            ("`` = 1", "`%` = 1"),
            ("_offset >= 3", "`_rowid` >= 3"),
            ("s = 'it''s _offset'", "s = 'it''s _offset'"),
            ("s == 'x' /* _offset */", "s == 'x' /* _offset */"),
            ("s LIKE 'a\\%'", "s LIKE 'a\\%'"),
            ("x = 0x1F -- `a.b`\n", "x = X'1F' -- `a.b`\n"),
            ("f(`a.b`, _offset)", "f(`a%2Eb`, `_rowid`)"),
        ] {
            assert_eq!(translate(filter, &names()).unwrap(), want);
        }
    }

    #[test]
    fn faults_are_named_with_their_place() {
        for (filter, want) in [
            (
                "a =",
                "Expected: an expression, found: EOF at Line: 1, Column: 4",
            ),
            ("a = 1\n AND (b", "found: EOF at Line: 2, Column: 8"),
            ("a = = 1", "found: = at Line: 1, Column: 5"),
            (
                "a = 1 b = 2",
                "Expected: the end, found: b at Line: 1, Column: 7",
            ),
            ("a = 1\nand )", "at Line: 2, Column: 5"),
            (
                "a = 'x",
                "Unterminated string literal at Line: 1, Column: 5",
            ),
            ("`a = 1", "Line: 1, Column: 1"),
            (
                "",
                "Expected: an expression, found: EOF at Line: 1, Column: 1",
            ),
            (
                "a = 1; b = 1",
                "Expected: the end, found: ; at Line: 1, Column: 6",
            ),
        ] {
            let message = translate(filter, &names()).unwrap_err().to_string();
            assert!(message.contains(want), "{filter:?}: {message}");
        }
    }
}
