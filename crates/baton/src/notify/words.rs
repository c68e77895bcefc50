//! What a person reads, in English and Korean. Sentences are whole in each language; what Baton says of a
//! failure stays as its log has it.

use baton_compose::policy::{Language, NewsKind};
use baton_deploy::receipt::Receipt;

/// What titles are made of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub app: &'a str,
    /// Empty where there is none yet.
    pub release: &'a str,
    pub color: &'a str,
    pub staged: bool,
    /// A rollback.
    pub back: bool,
}

pub fn title(language: Language, kind: NewsKind, subject: Subject<'_>) -> String {
    match language {
        Language::En => english(kind, subject),
        Language::Ko => korean(kind, subject),
    }
}

fn english(kind: NewsKind, subject: Subject<'_>) -> String {
    let Subject {
        app,
        release,
        color,
        staged,
        back,
    } = subject;
    let what = if back { "rollback to" } else { "deploy of" };
    match kind {
        NewsKind::Started => format!("{app}: {what} {release} has started"),
        NewsKind::Switched if staged => format!("{app}: {release} is on the test server ({color})"),
        NewsKind::Switched => format!("{app}: {release} is live ({color})"),
        NewsKind::Failed if release.is_empty() => format!("{app}: the deploy failed"),
        NewsKind::Failed => format!("{app}: {what} {release} failed"),
        NewsKind::RolledBack => format!("{app}: rolled back to {release} ({color})"),
        NewsKind::TakenBack => format!("{app}: {release} was taken back"),
        NewsKind::Done => format!("{app}: {what} {release} is done"),
    }
}

fn korean(kind: NewsKind, subject: Subject<'_>) -> String {
    let Subject {
        app,
        release,
        color,
        staged,
        back,
    } = subject;
    let what = if back { "롤백" } else { "배포" };
    match kind {
        NewsKind::Started => {
            format!("{app}: {release} {what}를 시작했습니다").replace("롤백를", "롤백을")
        }
        NewsKind::Switched if staged => {
            format!("{app}: {release} 테스트 서버에 올렸습니다 ({color})")
        }
        NewsKind::Switched => format!("{app}: {release} 서비스 전환을 마쳤습니다 ({color})"),
        NewsKind::Failed if release.is_empty() => format!("{app}: 배포에 실패했습니다"),
        NewsKind::Failed => format!("{app}: {release} {what}에 실패했습니다"),
        NewsKind::RolledBack => format!("{app}: {release} 버전으로 롤백했습니다 ({color})"),
        NewsKind::TakenBack => format!("{app}: {release} 배포를 되돌렸습니다"),
        NewsKind::Done => {
            format!("{app}: {release} {what}를 마쳤습니다").replace("롤백를", "롤백을")
        }
    }
}

/// Names of facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Release,
    Previous,
    Commit,
    Author,
    By,
    Pipeline,
    Reason,
    Log,
    Receipt,
}

pub fn label(language: Language, label: Label) -> &'static str {
    match (language, label) {
        (Language::En, Label::Release) => "Release",
        (Language::Ko, Label::Release) => "릴리스",
        (Language::En, Label::Previous) => "Before",
        (Language::Ko, Label::Previous) => "이전",
        (Language::En, Label::Commit) => "Commit",
        (Language::Ko, Label::Commit) => "커밋",
        (Language::En, Label::Author) => "Author",
        (Language::Ko, Label::Author) => "작성자",
        (Language::En, Label::By) => "By",
        (Language::Ko, Label::By) => "실행",
        (Language::En, Label::Pipeline) => "Pipeline",
        (Language::Ko, Label::Pipeline) => "파이프라인",
        (Language::En, Label::Reason) => "Reason",
        (Language::Ko, Label::Reason) => "원인",
        (Language::En, Label::Log) => "Last log lines",
        (Language::Ko, Label::Log) => "마지막 로그",
        (Language::En, Label::Receipt) => "Receipt",
        (Language::Ko, Label::Receipt) => "결과",
    }
}

/// The figures of a receipt in one line.
pub fn receipt(language: Language, receipt: &Receipt) -> String {
    let handed_over: u64 = receipt.streams.iter().map(|(_, s)| s.handed_over).sum();
    let Receipt {
        requests,
        failed,
        longest_gap_ms,
        ..
    } = receipt;
    let (moved, seconds) = (receipt.messages.moved, receipt.duration_ms.div_ceil(1000));
    match language {
        Language::En => format!(
            "{requests} requests, {failed} failed, longest wait {longest_gap_ms} ms; {handed_over} streams handed over, {moved} messages moved; {seconds} s"
        ),
        Language::Ko => format!(
            "요청 {requests}건, 실패 {failed}건, 최장 대기 {longest_gap_ms}ms · 이어진 스트림 {handed_over}개, 옮긴 메시지 {moved}건 · {seconds}초"
        ),
    }
}
