//! Server blocks as people have them, and what becomes of each.

use std::collections::BTreeMap;

use super::*;

fn service(name: &str, published: u16, inside: u16) -> Service {
    Service {
        name: name.to_owned(),
        image: Some(format!("shop/{name}")),
        ports: vec![inside],
        published: BTreeMap::from([(published, inside)]),
        ..Service::default()
    }
}

fn imported(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("htpasswd"),
        "alice:$2y$05$abcdefghijklmnopqrstuuKjLMNOPQRSTUVWXYZabcdefghijklmno\nbob:$apr1$x$y\n",
    )
    .unwrap();
    let file = folder.path().join("shop.conf");
    std::fs::write(&file, text).unwrap();
    let glance = Glance {
        file: "compose.yaml".into(),
        text: String::new(),
        services: vec![service("api", 8080, 8080), service("web", 3000, 80)],
    };
    let name = folder.path().display().to_string();
    let shown = match nginx(&file, &glance) {
        Err(error) => error,
        Ok(imported) => {
            let mut shown = String::new();
            for draft in &imported.drafts {
                shown.push_str(&format!("{}: {}", draft.service, draft.lines));
                for remark in &draft.remarks {
                    shown.push_str(&format!("! {remark}\n"));
                }
            }
            shown.push_str(&imported.settings);
            for (at, what, why) in &imported.left {
                shown.push_str(&format!("left {at}: {what}: {why}\n"));
            }
            shown
        }
    };
    shown.replace(&format!("{name}/"), "").replace(&name, "")
}

#[test]
fn a_site_of_certbot_is_carried_over() {
    insta::assert_snapshot!(imported(
        r#"
server {
    server_name api.example.com;
    client_max_body_size 20m;
    location / {
        proxy_pass http://127.0.0.1:8080;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
    location /events/ {
        proxy_pass http://127.0.0.1:8080;
        proxy_buffering off;
        proxy_read_timeout 1h;
    }
    listen [::]:443 ssl ipv6only=on; # managed by Certbot
    listen 443 ssl; # managed by Certbot
    ssl_certificate /etc/letsencrypt/live/api.example.com/fullchain.pem; # managed by Certbot
    ssl_certificate_key /etc/letsencrypt/live/api.example.com/privkey.pem; # managed by Certbot
    ssl_dhparam /etc/letsencrypt/ssl-dhparams.pem; # managed by Certbot
}
server {
    if ($host = api.example.com) {
        return 301 https://$host$request_uri;
    } # managed by Certbot
    listen 80;
    listen [::]:80;
    server_name api.example.com;
    return 404; # managed by Certbot
}
"#
    ));
}

#[test]
fn hosts_upstreams_and_websockets_of_a_whole_file_are_carried_over() {
    insta::assert_snapshot!(imported(
        r#"
user www-data;
events { worker_connections 768; }
http {
    include mime.types;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    gzip on;
    upstream backend { server 127.0.0.1:8080; server 127.0.0.1:8081 backup; keepalive 16; }
    server { listen 80; server_name www.example.com; return 301 https://example.com$request_uri; }
    server { listen 80; server_name example.com; return 301 https://$server_name$request_uri; }
    server {
        listen 443 ssl http2;
        server_name example.com;
        ssl_certificate tls/cert.pem;
        ssl_certificate_key tls/key.pem;
        location /api/ {
            proxy_pass http://backend/;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Tenant shop;
        }
        location / { proxy_pass http://localhost:3000; client_max_body_size 0; }
        location /static/ { root /var/www; expires 30d; }
    }
}
"#
    ));
}

#[test]
fn who_may_come_in_is_carried_over_or_said() {
    insta::assert_snapshot!(imported(
        r#"
server {
    listen 127.0.0.1:8081;
    server_name "";
    auth_basic "Shop";
    auth_basic_user_file htpasswd;
    allow 10.0.0.0/8;
    deny 10.0.0.1;
    deny all;
    set_real_ip_from 192.168.0.0/16;
    location ^~ / { proxy_pass http://api:8080; limit_req zone=one burst=5; add_header X-Frame-Options DENY; }
    location ~ \.php$ { fastcgi_pass unix:/run/php.sock; }
}
"#
    ));
}

#[test]
fn what_leads_to_no_service_is_said() {
    insta::assert_snapshot!(imported(
        "server { listen 80; location / { proxy_pass http://127.0.0.1:9999; } location /v { proxy_pass http://$where; } }"
    ));
}
