//! The text of an expression: the names in it that stand for others, and the tree that
//! it is.

use std::collections::HashMap;
use std::mem;
use std::ops::ControlFlow;

use lance::deps::datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType as SqlType, Expr as Sql, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, TypedString,
    Value, VisitMut, VisitorMut,
};
use lance::deps::datafusion::sql::sqlparser::keywords::Keyword;
use lance::deps::datafusion::sql::sqlparser::parser::{Parser, ParserError};
use lance::deps::datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};
use lance_arrow::json::encode_json;

use crate::depth::bounded;
use crate::error::{invalid, Error, Result};
use crate::json::is_simple;
use crate::stack::with_stack;
use crate::tokens::{tokens, unparsed, DIALECT};

/// Begins those of the names that are of fields inside columns, which follow a period.
const WITHIN_COLUMN: &str = "\0";

/// The SQL with each name that `names` has replaced by what it stands for. Where a word
/// of SQL is meant as one of these names, or of `columns`, an error says so.
pub fn translate(sql: &str, names: &HashMap<String, String>, columns: &[&str]) -> Result<String> {
    let tokens = tokens(sql, false)?;
    let stack = bounded(&tokens)?.stack_bytes();
    with_stack(stack, || {
        let is_column = |name: &str| names.contains_key(name) || columns.contains(&name);
        parsed(sql, tokens.clone(), &is_column).map(drop)
    })?;
    let mut out = String::with_capacity(sql.len());
    let mut within = false;
    for token in tokens {
        let prefix = if within { WITHIN_COLUMN } else { "" };
        within = token.token == Token::Period;
        match token.token {
            Token::Word(word) if matches!(word.quote_style, None | Some('`')) => {
                match names.get(&format!("{prefix}{}", word.value.replace("``", "`"))) {
                    Some(stored) if *stored != word.value => out.push_str(&quote(stored)),
                    _ => out.push_str(&word.to_string()),
                }
            }
            token => out.push_str(&token.to_string()),
        }
    }
    Ok(out)
}

/// A stored name as a part of a path.
pub fn quote(stored: &str) -> String {
    format!("`{stored}`")
}

/// A stored top-level name as Lance takes a path: plain where that will do.
pub fn path(stored: &str) -> String {
    match stored
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        true => stored.to_owned(),
        false => quote(stored),
    }
}

/// The tree of tokens, which are one expression; what is wrong is said with its place.
fn parsed(sql: &str, tokens: Vec<TokenWithSpan>, is_column: &dyn Fn(&str) -> bool) -> Result<Sql> {
    let words: Vec<String> = tokens.iter().filter_map(reserved).collect();
    expression(tokens).map_err(|message| {
        let message = match message.as_str() {
            "recursion limit exceeded" => "brackets, NOTs or the like are nested too deep".into(),
            _ => placed(message, sql),
        };
        let named = words.iter().find(|word| is_column(word));
        unparsed(match named {
            Some(word) => format!(
                "{message}; {word} is a word of SQL: write the column as {}",
                quote(word)
            ),
            None => message,
        })
    })
}

/// A word that is none of a name in every place.
fn reserved(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if is_reserved(word) => Some(word.value.clone()),
        _ => None,
    }
}

fn is_reserved(word: &Word) -> bool {
    word.quote_style.is_none() && word.keyword != Keyword::NoKeyword
}

fn expression(tokens: Vec<TokenWithSpan>) -> std::result::Result<Sql, String> {
    let says = |e: ParserError| match e {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => "recursion limit exceeded".to_owned(),
    };
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
    let tree = parser.parse_expr().map_err(says)?;
    let rest = parser.peek_token();
    match rest.token {
        Token::EOF => Ok(tree),
        _ => Err(format!(
            "Expected: the end, found: {rest}{}",
            rest.span.start
        )),
    }
}

/// Says where the end of the text is if that is what is wrong.
fn placed(message: String, sql: &str) -> String {
    if !message.ends_with("found: EOF") {
        return message;
    }
    let line = sql.split('\n').count();
    let column = sql.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{message}{}", Location::new(line as u64, column as u64))
}

/// The tree of an expression over columns of these names: every name in it is that of
/// a column, and chains of ANDs and ORs are balanced.
pub fn tree(sql: &str, columns: &[&str], is_function: &dyn Fn(&str) -> bool) -> Result<Sql> {
    let tokens = tokens(sql, true)?;
    let mut tree = parsed(sql, tokens, &|name| columns.contains(&name))?;
    let mut rewriter = Rewriter {
        columns,
        is_function,
    };
    match tree.visit(&mut rewriter) {
        ControlFlow::Continue(()) => Ok(tree),
        ControlFlow::Break(e) => Err(*e),
    }
}

struct Rewriter<'a> {
    columns: &'a [&'a str],
    is_function: &'a dyn Fn(&str) -> bool,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        ControlFlow::Break(Box::new(invalid(
            "a SELECT in an expression is not possible",
        )))
    }

    fn pre_visit_expr(&mut self, tree: &mut Sql) -> ControlFlow<Self::Break> {
        match self.rewrite(tree) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => ControlFlow::Break(Box::new(e)),
        }
    }
}

impl Rewriter<'_> {
    fn rewrite(&self, tree: &mut Sql) -> Result<()> {
        match tree {
            Sql::BinaryOp { op, .. } if is_logical(op) => balance(tree),
            Sql::Identifier(name) => self.resolve(name),
            Sql::CompoundIdentifier(names) => {
                let mut names = mem::take(names).into_iter();
                let Some(mut column) = names.next() else {
                    return Ok(());
                };
                self.resolve(&mut column);
                *tree = names.fold(Sql::Identifier(column), |of, name| {
                    let name = Value::SingleQuotedString(name.value);
                    call("get_field", vec![of, Sql::Value(name.into())])
                });
            }
            Sql::Function(function) => {
                if let Some(replacement) = self.replaced(function)? {
                    *tree = replacement;
                }
            }
            Sql::Value(value) => {
                if let Value::Placeholder(name) = &value.value {
                    return Err(invalid(format!(
                        "{name} stands for a value: write the value itself"
                    )));
                }
            }
            Sql::TypedString(TypedString {
                data_type: SqlType::JSONB,
                value,
                ..
            }) => *tree = jsonb(&value.value)?,
            Sql::Cast {
                data_type: SqlType::JSONB,
                expr,
                ..
            } => match expr.as_ref() {
                Sql::Value(value) => *tree = jsonb(&value.value)?,
                _ => return Err(invalid("a CAST to JSONB is of a string")),
            },
            _ => {}
        }
        Ok(())
    }

    /// Gives a name the case of the column that it means.
    fn resolve(&self, name: &mut Ident) {
        if name.quote_style.is_some() || self.columns.contains(&name.value.as_str()) {
            return;
        }
        let mut columns = self.columns.iter();
        if let Some(column) = columns.find(|c| c.eq_ignore_ascii_case(&name.value)) {
            name.value = (*column).to_owned();
        }
    }

    /// What a function that is none stands for: a word of SQL without brackets may be
    /// meant as a column.
    fn replaced(&self, function: &mut Function) -> Result<Option<Sql>> {
        let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
            return Ok(None);
        };
        if name.value.to_lowercase().starts_with("arrow_") {
            for text in strings(&function.args) {
                if !is_simple(text) {
                    return Err(invalid(format!("{name}: the type is nested too deep")));
                }
            }
        }
        if function.over.is_some() {
            return Err(invalid(format!(
                "{name} OVER in an expression is not possible"
            )));
        }
        match &mut function.args {
            FunctionArguments::None if self.columns.contains(&name.value.as_str()) => {
                if (self.is_function)(&name.value.to_lowercase()) {
                    return Err(invalid(format!(
                        "{name} is a word of SQL: write the column as {}, and the function as \
                         {name}()",
                        quote(&name.value)
                    )));
                }
                Ok(Some(Sql::Identifier(name.clone())))
            }
            FunctionArguments::List(list) if name.value == "is_valid" => {
                match list.args.as_mut_slice() {
                    [FunctionArg::Unnamed(FunctionArgExpr::Expr(of))] => {
                        let of = mem::replace(of, nothing());
                        Ok(Some(Sql::IsNotNull(Box::new(of))))
                    }
                    _ => Err(invalid("is_valid takes one argument")),
                }
            }
            _ => Ok(None),
        }
    }
}

/// The strings among the arguments of a function.
fn strings(args: &FunctionArguments) -> impl Iterator<Item = &str> {
    let list = match args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    list.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Sql::Value(value))) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.as_str()),
            _ => None,
        },
        _ => None,
    })
}

fn nothing() -> Sql {
    Sql::Value(Value::Null.into())
}

fn call(name: &str, args: Vec<Sql>) -> Sql {
    let unnamed = |arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg));
    Sql::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(unnamed).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// A string of JSON as it is stored.
fn jsonb(value: &Value) -> Result<Sql> {
    let Value::SingleQuotedString(text) = value else {
        return Err(invalid("JSONB is written as a string"));
    };
    if !is_simple(text) {
        return Err(invalid(
            "JSONB is nested too deep, or longer than 4096 bytes",
        ));
    }
    let bytes = encode_json(text).map_err(|e| invalid(format!("JSONB {text:?}: {e}")))?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Sql::Value(Value::HexStringLiteral(hex).into()))
}

fn is_logical(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::And | BinaryOperator::Or)
}

/// Makes a chain of ANDs, or of ORs, a tree whose depth is the logarithm of it.
fn balance(tree: &mut Sql) {
    let Sql::BinaryOp { op: chained, .. } = tree else {
        return;
    };
    let chained = chained.clone();
    let mut parts = Vec::new();
    let mut pending = vec![mem::replace(tree, nothing())];
    while let Some(next) = pending.pop() {
        match next {
            Sql::BinaryOp { left, op, right } if op == chained => pending.extend([*right, *left]),
            part => parts.push(part),
        }
    }
    while parts.len() > 1 {
        let mut halves = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(left) = rest.next() {
            halves.push(match rest.next() {
                Some(right) => Sql::BinaryOp {
                    left: Box::new(left),
                    op: chained.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        parts = halves;
    }
    if let Some(balanced) = parts.pop() {
        *tree = balanced;
    }
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
            ("all", "all"),
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
            ("a.b = 1", "a.b = 1"),
            ("`x``y` IS NULL", "`x%60y` IS NULL"),
            ("`` = 1", "`%` = 1"),
            ("_offset >= 3", "`_rowid` >= 3"),
            ("s = 'it''s _offset'", "s = 'it''s _offset'"),
            ("s == 'x' /* _offset */", "s == 'x' /* _offset */"),
            ("s LIKE 'a\\%'", "s LIKE 'a\\%'"),
            ("x = 0x1F -- `a.b`\n", "x = X'1F' -- `a.b`\n"),
            ("f(`a.b`, _offset)", "f(`a%2Eb`, `_rowid`)"),
            ("`all` = 1", "`all` = 1"),
            ("s.`a.b` = 1", "s.`a.b` = 1"),
            ("s.`x%y`.`x%y` = `x%y`", "s.`x%25y`.`x%25y` = `x%y`"),
        ] {
            assert_eq!(translate(filter, &names(), &["select"]).unwrap(), want);
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
            (
                "`a.b` = \"a.b\"",
                "double quotes at Line: 1, Column: 9: write a string as 'a.b' and a name as `a.b`",
            ),
            ("1 = all", "all is a word of SQL: write the column as `all`"),
            ("(select = 1)", "write the column as `select`"),
        ] {
            let message = translate(filter, &names(), &["select"])
                .unwrap_err()
                .to_string();
            assert!(message.contains(want), "{filter:?}: {message}");
        }
    }

    #[test]
    fn chains_are_balanced() {
        let columns = ["a", "Date", "user"];
        let is_function = |name: &str| name == "current_date";
        let read = |sql: &str| tree(sql, &columns, &is_function).map(|tree| tree.to_string());
        for (sql, want) in [
            ("a AND a AND a", "a AND a AND a"),
            ("A + date", "a + Date"),
            ("`A` + `date`", "`A` + `date`"),
            ("a.b.c", "get_field(get_field(a, 'b'), 'c')"),
            ("is_valid(a)", "a IS NOT NULL"),
            ("user = 'x'", "user = 'x'"),
        ] {
            assert_eq!(read(sql).expect("a tree"), want);
        }
        let chain = format!("a{}", " OR a".repeat(9999));
        let Ok(mut deepest) = tree(&chain, &columns, &is_function) else {
            panic!("no tree");
        };
        let mut levels = 0;
        while let Sql::BinaryOp { left, .. } = deepest {
            deepest = *left;
            levels += 1;
        }
        assert_eq!(levels, 14);
        assert!(read("a IN (SELECT 1)").is_err());
        assert!(read("a = $1").is_err());
        assert!(read("row_number() OVER () > 1").is_err());
        assert!(read("current_date >= a").is_ok());
    }
}
