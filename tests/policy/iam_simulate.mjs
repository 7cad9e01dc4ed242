// Reads requests as JSON from stdin, and writes iam-simulate's decisions in the same order.
import { createRequire } from 'node:module'

const { runSimulation } = createRequire(`${process.argv[2]}/`)('@cloud-copilot/iam-simulate')
const WORDS = { Allowed: 'allow', ImplicitlyDenied: 'implicit deny', ExplicitlyDenied: 'explicit deny' }
let text = ''
for await (const part of process.stdin) text += part
const decisions = []
for (const { documents, boundary, levels, action, resource, context } of JSON.parse(text)) {
  const answer = await runSimulation(
    {
      request: {
        principal: context['aws:PrincipalArn'],
        action,
        resource: { resource, accountId: context['aws:PrincipalAccount'] },
        contextVariables: context,
      },
      identityPolicies: documents.map((policy, number) => ({ name: String(number), policy })),
      serviceControlPolicies: (levels ?? []).map((policies, number) => ({
        orgIdentifier: String(number),
        policies: policies.map((policy, place) => ({ name: String(place), policy })),
      })),
      resourceControlPolicies: [],
      permissionBoundaryPolicies: boundary ? [{ name: 'boundary', policy: boundary }] : undefined,
    },
    {},
  )
  decisions.push(WORDS[answer.overallResult] ?? JSON.stringify(answer))
}
process.stdout.write(JSON.stringify(decisions))
