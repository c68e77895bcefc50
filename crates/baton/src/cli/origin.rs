//! Where a release comes from, as the pipeline that runs the command says it in its environment.

use baton_compose::project::Origin;

/// Baton's own variables first, then those of GitHub Actions and GitLab CI.
pub fn of_environment() -> Option<Origin> {
    origin(&|name| {
        std::env::var(name)
            .ok()
            .filter(|value| !value.trim().is_empty())
    })
}

fn origin(get: &dyn Fn(&str) -> Option<String>) -> Option<Origin> {
    let first = |names: &[&str]| names.iter().find_map(|name| get(name));
    let origin = Origin {
        commit: first(&["BATON_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA"]),
        author: first(&[
            "BATON_AUTHOR",
            "CI_COMMIT_AUTHOR",
            "GITHUB_ACTOR",
            "GITLAB_USER_NAME",
        ])
        .map(|author| without_address(&author)),
        pipeline: first(&["BATON_PIPELINE_URL"])
            .or_else(|| github(get))
            .or_else(|| first(&["CI_PIPELINE_URL", "CI_JOB_URL"])),
    };
    (origin != Origin::default()).then_some(origin)
}

/// GitHub gives the parts of the address of a run.
fn github(get: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let (server, repository) = (get("GITHUB_SERVER_URL")?, get("GITHUB_REPOSITORY")?);
    Some(format!(
        "{server}/{repository}/actions/runs/{}",
        get("GITHUB_RUN_ID")?
    ))
}

/// GitLab has `Name <name@example.com>`; an address need not be told to a whole channel.
fn without_address(author: &str) -> String {
    match author.split_once('<') {
        Some((name, _)) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => author.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Option<Origin> {
        origin(&|name| {
            let pair = pairs.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn each_pipeline_says_it_in_its_own_words() {
        let github = of(&[
            ("GITHUB_SHA", "c0ffee"),
            ("GITHUB_ACTOR", "octocat"),
            ("GITHUB_SERVER_URL", "https://git.example.com"),
            ("GITHUB_REPOSITORY", "shop/api"),
            ("GITHUB_RUN_ID", "42"),
        ]);
        let github = github.expect("an origin");
        assert_eq!(
            github.pipeline.as_deref(),
            Some("https://git.example.com/shop/api/actions/runs/42")
        );
        assert_eq!(github.commit.as_deref(), Some("c0ffee"));
        let gitlab = of(&[
            ("CI_COMMIT_SHA", "beef"),
            ("CI_COMMIT_AUTHOR", "Kim Minji <minji@example.com>"),
            ("CI_PIPELINE_URL", "https://lab.example.com/p/7"),
        ]);
        assert_eq!(
            gitlab,
            Some(Origin {
                commit: Some("beef".to_owned()),
                author: Some("Kim Minji".to_owned()),
                pipeline: Some("https://lab.example.com/p/7".to_owned()),
            })
        );
        assert_eq!(of(&[]), None);
        let own = of(&[("BATON_COMMIT", "1"), ("GITHUB_SHA", "2")]);
        assert_eq!(own.and_then(|own| own.commit).as_deref(), Some("1"));
    }
}
