/** People with a role in the organization, and those who were invited. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, body, onceKey, type Schemas, type Where } from "../api/client";
import type { Problem } from "../api/problem";
import { Confirm, SecretOnce } from "../kit/action";
import { Button, Choice, Dialog, Field, Form } from "../kit/control";
import { Empty, Panel } from "../kit/panel";
import { Pages, Sheet } from "../kit/pages";
import { Foreign, Time } from "../kit/text";
import { projectsQuery } from "../organization/model";

type Member = Schemas["MemberView"];
type Invitation = Schemas["InvitationView"];
type Role = Schemas["NewInvitation"]["role"];

const ROLES = [
  ["viewer", "viewer"],
  ["operator", "operator"],
  ["project_admin", "project admin"],
  ["org_admin", "organization admin"],
] as const;
const PROJECT_ROLES = ROLES.filter(([role]) => role !== "org_admin");

/** Of an organization; `place` is where permissions are asked for. */
export function Members({ place }: { place: Where }) {
  const { org } = place;
  const may = useMay(place, "ManageOrgMemberships");
  return (
    <>
      <Panel title={`Members of ${org}`} actions={<Invite org={org} isDisabled={!may.allowed} />}>
        <Pages<Member>
          queryKey={["members", org]}
          read={async (cursor) => body(await api.GET("/v1/orgs/{org}/members", { params: { path: { org }, query: { cursor } } }))}
          empty={
            <Empty title="No people yet">
              <p>The operator makes the first with <code>waypost admin create-user</code>; then people invite people.</p>
            </Empty>
          }
        >
          {(members) => (
            <Sheet label={`Members of ${org}`} heads={["Person", "Role", "Where", "Since", "Change"]}>
              {members.map((member) => (
                <Row key={member.id} member={member} org={org} isDisabled={!may.allowed} />
              ))}
            </Sheet>
          )}
        </Pages>
      </Panel>
      {may.allowed && <Invitations org={org} />}
    </>
  );
}

function Row({ member, org, isDisabled }: { member: Member; org: string; isDisabled: boolean }) {
  const [role, setRole] = useState(member.role as Role);
  const path = { org, member: member.id };
  const who = member.person.name || member.person.email;
  return (
    <tr>
      <th scope="row">
        <Foreign>{who}</Foreign> <bdi className="hint">{member.person.email}</bdi>
      </th>
      <td>{member.role.replace("_", " ")}</td>
      <td>{member.project_id ? "one project" : "the organization"}</td>
      <td>
        <Time at={member.created_at} />
      </td>
      <td>
        <Confirm
          label="Role…"
          name={`Change the role of ${who}`}
          look="quiet"
          title={`The role of ${who}`}
          submit="Change"
          isDisabled={isDisabled}
          run={() => api.PATCH("/v1/orgs/{org}/members/{member}", { params: { path }, body: { role } })}
          changes={[["members", org], ["whoami"]]}
        >
          <Choice label="Role" value={role} options={member.project_id ? PROJECT_ROLES : ROLES} onChange={setRole} />
        </Confirm>
        <Confirm
          label="Remove…"
          name={`Remove ${who}`}
          look="quiet"
          title={`Remove ${who}?`}
          submit="Remove"
          danger
          isDisabled={isDisabled}
          run={() => api.DELETE("/v1/orgs/{org}/members/{member}", { params: { path } })}
          changes={[["members", org], ["whoami"]]}
        >
          <p>This role is gone at once, on every page that is open too.</p>
        </Confirm>
      </td>
    </tr>
  );
}

function Invite({ org, isDisabled }: { org: string; isDisabled: boolean }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button isDisabled={isDisabled} onPress={() => setOpen(true)}>
        Invite…
      </Button>
      <Dialog title="Invite somebody" isOpen={isOpen} onClose={() => setOpen(false)}>
        <Steps org={org} close={() => setOpen(false)} />
      </Dialog>
    </>
  );
}

function Steps({ org, close }: { org: string; close: () => void }) {
  const client = useQueryClient();
  const [once] = useState(onceKey);
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("operator");
  const [project, setProject] = useState("");
  const projects = useQuery(projectsQuery(org));
  const make = useMutation<Invitation, Problem>({
    mutationFn: async () => {
      const given = { email, role, project: project || null, expires_in_seconds: null };
      return body(await api.POST("/v1/orgs/{org}/invitations", { params: { path: { org }, header: { "Idempotency-Key": once } }, body: given }));
    },
    onSuccess: () => client.invalidateQueries({ queryKey: ["invitations", org] }),
  });
  if (make.data?.link) {
    return (
      <SecretOnce label="Link" secret={make.data.link} close={close}>
        <p>Waypost sends no mail: give the link to {email} by a way that only they read. Whoever opens it first owns the address.</p>
      </SecretOnce>
    );
  }
  return (
    <Form submit="Make a link" isBusy={make.isPending} isDisabled={!email.trim()} problem={make.error} onSubmit={() => make.mutate()} onCancel={close}>
      <Field label="E-mail address" type="email" value={email} onChange={setEmail} />
      <Choice
        label="Where"
        value={project}
        options={[["", `the organization ${org}`], ...(projects.data ?? []).map((one) => [one.slug, `the project ${one.slug} only`] as const)]}
        onChange={setProject}
      />
      <Choice label="Role" value={role} options={project ? PROJECT_ROLES : ROLES} onChange={setRole} />
    </Form>
  );
}

function Invitations({ org }: { org: string }) {
  return (
    <Panel title="Open invitations">
      <Pages<Invitation>
        queryKey={["invitations", org]}
        read={async (cursor) => body(await api.GET("/v1/orgs/{org}/invitations", { params: { path: { org }, query: { cursor } } }))}
        empty={<Empty title="None" />}
      >
        {(found) => (
          <Sheet label="Open invitations" heads={["Address", "Role", "Until", "Change"]}>
            {found.map((one) => (
              <tr key={one.id}>
                <th scope="row">
                  <Foreign>{one.email}</Foreign>
                </th>
                <td>{one.role.replace("_", " ")}</td>
                <td>
                  <Time at={one.expires_at} />
                </td>
                <td>
                  <Confirm
                    label="Revoke…"
                    name={`Revoke the invitation of ${one.email}`}
                    look="quiet"
                    title={`Revoke the invitation of ${one.email}?`}
                    submit="Revoke"
                    danger
                    run={() => api.DELETE("/v1/orgs/{org}/invitations/{invitation}", { params: { path: { org, invitation: one.id } } })}
                    changes={[["invitations", org]]}
                  >
                    <p>Its link works no more.</p>
                  </Confirm>
                </td>
              </tr>
            ))}
          </Sheet>
        )}
      </Pages>
    </Panel>
  );
}
