// Package classes turns the constants of policies into finitely many calls, one of
// each class that the policies can tell apart.
package classes
